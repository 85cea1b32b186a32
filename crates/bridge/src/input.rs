//! What a program is told: whole lines, one after the other, by a task of its own. A caller who leaves in the middle of
//! one must not leave half of it behind.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// How many lines wait for a program that does not read; then their callers wait.
const WAITING_LINES: usize = 64;
/// Lines that wait are written together up to this size.
const TOGETHER_BYTES: usize = 16 * 1024;

/// The way to a program's standard input. Clones lead to the same one.
#[derive(Clone)]
pub(crate) struct Input {
    lines: mpsc::Sender<Outgoing>,
    asides: Arc<Asides>,
    closed: CancellationToken,
}

/// The other end of it.
pub(crate) struct Outgoings {
    lines: mpsc::Receiver<Outgoing>,
    asides: Arc<Asides>,
    closed: CancellationToken,
}

struct Outgoing {
    line: Bytes,
    written: Option<oneshot::Sender<()>>,
}

/// Lines that nobody waits for. There are no more of them than calls that were left.
#[derive(Default)]
struct Asides {
    lines: Mutex<VecDeque<Bytes>>,
    more: Notify,
}

/// The program takes no more lines.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Gone;

/// A way to a program, and its other end; it is closed at the latest with `bridge`.
pub(crate) fn input(bridge: &CancellationToken) -> (Input, Outgoings) {
    let (sender, receiver) = mpsc::channel(WAITING_LINES);
    let (asides, closed) = (Arc::<Asides>::default(), bridge.child_token());
    let outgoings = Outgoings {
        lines: receiver,
        asides: asides.clone(),
        closed: closed.clone(),
    };
    (
        Input {
            lines: sender,
            asides,
            closed,
        },
        outgoings,
    )
}

impl Input {
    /// Hands a line over. Dropping the future before it is done hands nothing over.
    pub(crate) async fn send(&self, line: Bytes) -> Result<(), Gone> {
        self.lines
            .send(Outgoing {
                line,
                written: None,
            })
            .await
            .map_err(|_| Gone)
    }

    /// Hands a line over and waits until the program's input has all of it.
    pub(crate) async fn deliver(&self, line: Bytes) -> Result<(), Gone> {
        let (written, done) = oneshot::channel();
        self.lines
            .send(Outgoing {
                line,
                written: Some(written),
            })
            .await
            .map_err(|_| Gone)?;
        done.await.map_err(|_| Gone)
    }

    /// Says something before all that waits, without waiting.
    pub(crate) fn aside(&self, line: Bytes) {
        self.asides
            .lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back(line);
        self.asides.more.notify_one();
    }

    /// Ends the program's input, whoever else has a clone of this.
    pub(crate) fn close(&self) {
        self.closed.cancel();
    }

    /// Whether somebody has closed it.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }
}

impl Outgoings {
    /// Writes until the input is closed or the program takes no more.
    pub(crate) async fn write_to(mut self, mut program: impl AsyncWrite + Unpin) {
        let closed = self.closed.clone();
        let writing = async {
            while let Some(first) = self.next().await {
                if self.write(first, &mut program).await.is_err() {
                    break;
                }
            }
        };
        tokio::select! {
            // Biased towards the end: whoever closes does not want the rest said.
            biased;
            () = closed.cancelled() => {}
            () = writing => {}
        }
    }

    async fn next(&mut self) -> Option<Outgoing> {
        loop {
            if let Some(line) = self.asides.next() {
                return Some(Outgoing {
                    line,
                    written: None,
                });
            }
            tokio::select! {
                // Biased towards what overtakes.
                biased;
                () = self.asides.more.notified() => {}
                line = self.lines.recv() => return line,
            }
        }
    }

    /// Writes one line, and with it those that wait already.
    async fn write(
        &mut self,
        first: Outgoing,
        program: &mut (impl AsyncWrite + Unpin),
    ) -> std::io::Result<()> {
        if first.line.len() > TOGETHER_BYTES {
            program.write_all(&first.line).await?;
            program.write_all(b"\n").await?;
            program.flush().await?;
            first.done();
            return Ok(());
        }
        let mut together = Vec::with_capacity(first.line.len() + 1);
        let (mut outgoings, mut next) = (Vec::new(), Some(first));
        while let Some(outgoing) = next {
            together.extend_from_slice(&outgoing.line);
            together.push(b'\n');
            outgoings.push(outgoing);
            next = if together.len() < TOGETHER_BYTES {
                self.lines.try_recv().ok()
            } else {
                None
            };
        }
        program.write_all(&together).await?;
        program.flush().await?;
        outgoings.into_iter().for_each(Outgoing::done);
        Ok(())
    }
}

impl Outgoing {
    fn done(self) {
        if let Some(written) = self.written {
            // Whoever waited may have left.
            let _ = written.send(());
        }
    }
}

impl Asides {
    fn next(&self) -> Option<Bytes> {
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn lines_arrive_whole_and_in_order_and_an_aside_before_those_that_wait() {
        let (input, outgoings) = input(&CancellationToken::new());
        input.send("one".into()).await.unwrap();
        input.send("two".into()).await.unwrap();
        input.aside("first".into());
        let (near, mut far) = tokio::io::duplex(1024);
        let writing = outgoings.write_to(near);
        let reading = async {
            let mut read = vec![0; "first\\none\\ntwo\\nthree\\n".len() - 4];
            input.deliver("three".into()).await.unwrap();
            far.read_exact(&mut read).await.unwrap();
            input.close();
            String::from_utf8(read).unwrap()
        };
        assert_eq!(tokio::join!(writing, reading).1, "first\none\ntwo\nthree\n");
    }

    #[tokio::test]
    async fn a_line_is_delivered_when_the_program_has_all_of_it() {
        let (input, outgoings) = input(&CancellationToken::new());
        let (near, mut far) = tokio::io::duplex(4);
        let mut writing = Box::pin(outgoings.write_to(near));
        let mut delivered = Box::pin(input.deliver("123456".into()));
        assert!(futures_util::poll!(delivered.as_mut()).is_pending());
        assert!(futures_util::poll!(writing.as_mut()).is_pending());
        assert!(futures_util::poll!(delivered.as_mut()).is_pending());
        let mut read = [0; 4];
        far.read_exact(&mut read).await.unwrap();
        assert!(futures_util::poll!(writing.as_mut()).is_pending());
        assert_eq!(delivered.await, Ok(()));
    }

    #[tokio::test]
    async fn a_program_that_is_gone_takes_nothing() {
        let (input, outgoings) = input(&CancellationToken::new());
        let (near, far) = tokio::io::duplex(4);
        drop(far);
        let (_, delivered) = tokio::join!(outgoings.write_to(near), input.deliver("1".into()));
        assert_eq!(delivered, Err(Gone));
        assert_eq!(input.send("2".into()).await, Err(Gone));
    }
}
