//! The way to a program's standard input: whole lines, one after the other, written by a task of
//! its own, so that a caller that disconnects in the middle of a line leaves no half line behind.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use llamapool_limits::MemoryAccount;
use llamapool_wire::{CallError, Cause};
use parking_lot::Mutex;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// How many lines are queued for a program that does not read; after that their callers wait.
const WAITING_LINES: usize = 64;
/// Queued lines are written together up to this size.
const TOGETHER_BYTES: usize = 16 * 1024;

/// Sends lines to a program. Clones lead to the same program.
#[derive(Clone)]
pub(crate) struct ProgramInput {
    lines: mpsc::Sender<QueuedLine>,
    urgent: Arc<UrgentLines>,
    closed: CancellationToken,
    memory: MemoryAccount,
    /// True if the program accepts no more, although its input was not closed from this side.
    is_broken: Arc<AtomicBool>,
    /// The name of the provider in the log.
    provider: Option<Arc<str>>,
}

/// Writes the queued lines to the program.
pub(crate) struct InputWriter {
    lines: mpsc::Receiver<QueuedLine>,
    urgent: Arc<UrgentLines>,
    closed: CancellationToken,
    is_broken: Arc<AtomicBool>,
}

struct QueuedLine {
    line: Bytes,
    /// Notified when the line is written.
    written: Option<oneshot::Sender<()>>,
}

/// A line that is queued.
#[must_use]
pub(crate) struct SentLine(oneshot::Receiver<()>);

impl SentLine {
    /// Waits until it is certain that the line is not written, and returns why: the program accepts
    /// no more. Never returns if the line is written.
    pub(crate) async fn failed(self) -> CallError {
        if self.0.await.is_ok() {
            std::future::pending::<()>().await;
        }
        let message = "the MCP server accepts no more input; it may have executed the call";
        CallError::new(Cause::ProviderExited, message)
    }
}

/// Lines for which no caller waits. There are no more of them than calls whose callers
/// disconnected.
#[derive(Default)]
struct UrgentLines {
    lines: Mutex<VecDeque<Bytes>>,
    added: Notify,
}

/// The program accepts no more lines.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct InputClosedError;

/// Creates an input and its writer. The input is closed at the latest when `bridge` is cancelled.
pub(crate) fn program_input(
    bridge: &CancellationToken,
    memory: &MemoryAccount,
) -> (ProgramInput, InputWriter) {
    let (sender, receiver) = mpsc::channel(WAITING_LINES);
    let urgent = Arc::<UrgentLines>::default();
    let closed = bridge.child_token();
    let is_broken = Arc::<AtomicBool>::default();

    let writer = InputWriter {
        lines: receiver,
        urgent: urgent.clone(),
        closed: closed.clone(),
        is_broken: is_broken.clone(),
    };
    let input = ProgramInput {
        lines: sender,
        urgent,
        closed,
        memory: memory.clone(),
        is_broken,
        provider: None,
    };
    (input, writer)
}

impl ProgramInput {
    /// Returns the same input, of the provider with this name.
    pub(crate) fn of_provider(self, provider: Option<Arc<str>>) -> Self {
        Self { provider, ..self }
    }

    /// Returns the same input, with another account of the memory for messages of the program.
    pub(crate) fn with_memory(self, memory: &MemoryAccount) -> Self {
        Self {
            memory: memory.clone(),
            ..self
        }
    }

    /// Returns the name of the provider in the log.
    pub(crate) fn provider(&self) -> Option<Arc<str>> {
        self.provider.clone()
    }

    /// Queues a line. If the future is dropped before it completes, the line is not queued.
    pub(crate) async fn send(&self, line: Bytes) -> Result<SentLine, InputClosedError> {
        let (written, done) = oneshot::channel();
        let queued = QueuedLine {
            line,
            written: Some(written),
        };
        let sent = self.lines.send(queued).await;
        sent.map(|()| SentLine(done)).map_err(|_| InputClosedError)
    }

    /// Queues a line and waits until it is written to the program's input.
    pub(crate) async fn send_and_flush(&self, line: Bytes) -> Result<(), InputClosedError> {
        let SentLine(done) = self.send(line).await?;
        done.await.map_err(|_| InputClosedError)
    }

    /// Queues a line before all others, without waiting.
    pub(crate) fn send_urgent(&self, line: Bytes) {
        self.urgent.lines.lock().push_back(line);
        self.urgent.added.notify_one();
    }

    /// Returns the account of the memory for messages of the program.
    pub(crate) fn memory(&self) -> &MemoryAccount {
        &self.memory
    }

    /// Closes the program's input, for all clones.
    pub(crate) fn close(&self) {
        self.closed.cancel();
    }

    /// Returns whether the input is closed, from either side.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    /// Returns whether the program accepts no more, although its input was not closed from this
    /// side.
    pub(crate) fn is_broken(&self) -> bool {
        self.is_broken.load(Ordering::Acquire)
    }
}

impl InputWriter {
    /// Writes until the input is closed or the program accepts no more. The input of such a program
    /// is closed, for nothing that is sent to it would be answered.
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
            // Biased towards the close: queued lines are discarded then.
            biased;
            () = closed.cancelled() => return,
            () = writing => {}
        }
        self.is_broken.store(true, Ordering::Release);
        self.closed.cancel();
    }

    async fn next(&mut self) -> Option<QueuedLine> {
        loop {
            if let Some(line) = self.urgent.pop() {
                return Some(QueuedLine {
                    line,
                    written: None,
                });
            }
            tokio::select! {
                // Biased towards urgent lines, which overtake.
                biased;
                () = self.urgent.added.notified() => {}
                line = self.lines.recv() => return line,
            }
        }
    }

    /// Writes one line, together with those that are queued already.
    async fn write(
        &mut self,
        first: QueuedLine,
        program: &mut (impl AsyncWrite + Unpin),
    ) -> std::io::Result<()> {
        if first.line.len() > TOGETHER_BYTES {
            program.write_all(&first.line).await?;
            program.write_all(b"\n").await?;
            program.flush().await?;
            first.notify_written();
            return Ok(());
        }

        let mut together = Vec::with_capacity(first.line.len() + 1);
        let mut lines = Vec::new();
        let mut next = Some(first);
        while let Some(queued) = next {
            together.extend_from_slice(&queued.line);
            together.push(b'\n');
            lines.push(queued);
            next = if together.len() < TOGETHER_BYTES {
                self.lines.try_recv().ok()
            } else {
                None
            };
        }

        program.write_all(&together).await?;
        program.flush().await?;
        lines.into_iter().for_each(QueuedLine::notify_written);
        Ok(())
    }
}

impl QueuedLine {
    fn notify_written(self) {
        if let Some(written) = self.written {
            // The receiver is gone if its caller has disconnected.
            let _ = written.send(());
        }
    }
}

impl UrgentLines {
    fn pop(&self) -> Option<Bytes> {
        self.lines.lock().pop_front()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn lines_arrive_in_order_and_urgent_ones_first() {
        let (input, writer) = program_input(&CancellationToken::new(), &MemoryAccount::default());
        let _one = input.send("one".into()).await.unwrap();
        let _two = input.send("two".into()).await.unwrap();
        input.send_urgent("first".into());
        let (near, mut far) = tokio::io::duplex(1024);
        let writing = writer.write_to(near);
        let reading = async {
            let mut read = vec![0; "first\\none\\ntwo\\nthree\\n".len() - 4];
            input.send_and_flush("three".into()).await.unwrap();
            far.read_exact(&mut read).await.unwrap();
            input.close();
            String::from_utf8(read).unwrap()
        };

        assert_eq!(tokio::join!(writing, reading).1, "first\none\ntwo\nthree\n");
        assert!(!input.is_broken());
    }

    #[tokio::test]
    async fn a_line_is_flushed_when_the_program_has_all_of_it() {
        let (input, writer) = program_input(&CancellationToken::new(), &MemoryAccount::default());
        let (near, mut far) = tokio::io::duplex(4);
        let mut writing = Box::pin(writer.write_to(near));
        let mut delivered = Box::pin(input.send_and_flush("123456".into()));

        assert!(futures_util::poll!(delivered.as_mut()).is_pending());
        assert!(futures_util::poll!(writing.as_mut()).is_pending());
        assert!(futures_util::poll!(delivered.as_mut()).is_pending());

        let mut read = [0; 4];
        far.read_exact(&mut read).await.unwrap();

        assert!(futures_util::poll!(writing.as_mut()).is_pending());
        assert_eq!(delivered.await, Ok(()));
    }

    #[tokio::test]
    async fn a_program_that_is_gone_accepts_nothing() {
        let (input, writer) = program_input(&CancellationToken::new(), &MemoryAccount::default());
        let (near, far) = tokio::io::duplex(4);
        drop(far);
        let queued = input.send("0".into()).await.unwrap();
        let (_, delivered) = tokio::join!(writer.write_to(near), input.send_and_flush("1".into()));

        assert_eq!(queued.failed().await.cause, Cause::ProviderExited);
        assert_eq!(delivered, Err(InputClosedError));
        assert!(input.is_closed() && input.is_broken());
        assert!(input.send("2".into()).await.is_err());
    }
}
