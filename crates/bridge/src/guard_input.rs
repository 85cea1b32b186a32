//! How the standard input of a program gets past its guard.
//!
//! The guard's own standard input is a socket, the lifeline: it loses its peer when the bridge
//! closes it, and also when the bridge dies. Through it the guard receives the pipe that becomes
//! the program's standard input, and keeps no copy. So the bridge's next write fails when the
//! program closes its standard input, as it would without a guard in between.

use std::io;

#[cfg(unix)]
pub(crate) use self::unix::{GuardInput, receive};

#[cfg(unix)]
mod unix {
    use std::io::{IoSlice, IoSliceMut};
    use std::mem::MaybeUninit;
    use std::os::fd::{AsFd, OwnedFd};
    use std::os::unix::net::UnixStream;
    use std::process::Stdio;

    use rustix::io::{FdFlags, fcntl_setfd};
    use rustix::net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
    };
    use tokio::net::unix::pipe;

    use super::io;

    /// The ends of the lifeline and of the program's standard input.
    pub(crate) struct GuardInput {
        /// The program's standard input.
        pub(crate) program: pipe::Sender,
        /// Ends the guard's patience with the program when it is dropped.
        pub(crate) lifeline: UnixStream,
        /// The standard input of the guard.
        pub(crate) guard: Stdio,
    }

    impl GuardInput {
        /// Opens both, and sends the program's end to the guard that is going to be started.
        pub(crate) fn open() -> io::Result<Self> {
            let (input, program) = io::pipe()?;
            let (lifeline, guard) = UnixStream::pair()?;

            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            let input = [input.as_fd()];
            if !ancillary.push(SendAncillaryMessage::ScmRights(&input)) {
                return Err(io::Error::other("the pipe does not fit into a message"));
            }
            // A message must have a byte to carry a descriptor.
            let byte = [IoSlice::new(b"i")];
            sendmsg(&lifeline, &byte, &mut ancillary, SendFlags::empty())?;

            Ok(Self {
                program: pipe::Sender::from_owned_fd(OwnedFd::from(program))?,
                lifeline,
                guard: OwnedFd::from(guard).into(),
            })
        }
    }

    /// Receives the program's standard input from the lifeline, which is the standard input of
    /// this process.
    pub(crate) fn receive() -> io::Result<OwnedFd> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let lifeline = io::stdin();
        recvmsg(
            &lifeline,
            &mut [IoSliceMut::new(&mut byte)],
            &mut ancillary,
            RecvFlags::empty(),
        )?;

        let input = ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        let input = input.ok_or_else(|| io::Error::other("the bridge has ended"))?;
        // The program must have it as its standard input alone.
        fcntl_setfd(&input, FdFlags::CLOEXEC)?;
        Ok(input)
    }
}

/// Programs need a guard, and guards need Unix.
#[cfg(not(unix))]
pub(crate) struct GuardInput {
    pub(crate) program: tokio::io::Sink,
    pub(crate) lifeline: (),
    pub(crate) guard: std::process::Stdio,
}

#[cfg(not(unix))]
impl GuardInput {
    pub(crate) fn open() -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::fd::OwnedFd;

    use rustix::io::Errno;
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// The descriptor in the lifeline is the only other reader of the pipe.
    #[tokio::test]
    async fn a_pipe_whose_reader_is_gone_refuses_bytes() {
        let GuardInput {
            mut program,
            lifeline,
            guard,
        } = GuardInput::open().unwrap();
        program.write_all(b"line\n").await.unwrap();

        drop(guard);
        let refused = program.write_all(b"line\n").await.unwrap_err();

        assert_eq!(refused.raw_os_error(), Some(Errno::PIPE.raw_os_error()));
        drop(OwnedFd::from(lifeline));
    }
}
