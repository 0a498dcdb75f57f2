//! The pump: reads what cells write to their standard output and error, as bytes and as they are
//! written, and publishes it. One thread reads both pipes for the kernel's whole life, so output of
//! background threads arrives between cells too, and a restarted runner writes into the same pipes.

use std::{
    io,
    os::fd::AsFd,
    path::Path,
    sync::{
        Arc,
        mpsc::{self, Receiver, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll},
    fd::OwnedFd,
    fs::{Mode, OFlags},
};
use wire::mime::Bundle;

use super::{
    content::{Piece, Splitter},
    session::{STDERR_PIPE, STDOUT_PIPE},
    sink::{Sink, Stream},
};

const READ_SIZE: usize = 64 << 10;
/// How long a line's beginning that could become a rich content waits for its rest, which a program
/// writes along with it.
const HOLD: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 10_000_000,
};
/// How long a rich content that has begun may take to end. A program prints it in one go; a beginning
/// that nothing ends must not keep from the user what comes behind it.
const BLOCK_HOLD: Duration = Duration::from_secs(5);
/// The largest size an unprivileged process may give a pipe by default.
const PIPE_SIZE: usize = 1 << 20;

/// A handle to the pump's thread.
pub struct Pump {
    requests: Sender<Request>,
    wake: Arc<OwnedFd>,
}

enum Request {
    /// Publish all that has been written, then answer.
    Drain(Sender<()>),
    /// The same at the end of a cell: nothing is held back, and a rich content that came last is
    /// the cell's value, which is the answer.
    EndCell(Sender<Printed>),
}

/// What is left of a cell's output when it has ended.
#[derive(Default)]
pub struct Printed {
    /// The value that it printed last by evcxr's protocol, if it did.
    pub value: Option<Bundle>,
    /// The end of what it wrote to standard error.
    pub last_errors: String,
}

/// Bytes of standard error that are remembered: a backtrace may stand behind what counts.
const LAST_ERRORS: usize = 16 << 10;

impl Pump {
    /// Starts reading the pipes in `session`.
    pub fn start(session: &Path, sink: Arc<dyn Sink>) -> io::Result<Self> {
        let wake = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?);
        let (requests, incoming) = mpsc::channel();
        let reader = Reader {
            stdout: Pipe::open(&session.join(STDOUT_PIPE))?,
            stderr: Pipe::open(&session.join(STDERR_PIPE))?,
            incoming,
            wake: Arc::clone(&wake),
            sink,
            value: None,
            last_errors: String::new(),
            block_since: None,
        };
        thread::Builder::new()
            .name("output".to_owned())
            .spawn(move || reader.run())?;
        Ok(Self { requests, wake })
    }

    /// Publishes everything that has been written so far.
    pub fn drain(&self) {
        self.ask(Request::Drain);
    }

    /// Publishes everything that the cell wrote, to its last byte.
    pub fn end_cell(&self) -> Printed {
        self.ask(Request::EndCell).unwrap_or_default()
    }

    fn ask<T>(&self, request: impl Fn(Sender<T>) -> Request) -> Option<T> {
        let (answer, answered) = mpsc::channel();
        self.requests.send(request(answer)).ok()?;
        let _ = rustix::io::write(&*self.wake, &1_u64.to_ne_bytes());
        // Without an answer the pump has ended with the kernel: nothing is left to wait for.
        answered.recv().ok()
    }
}

struct Reader {
    stdout: Pipe,
    stderr: Pipe,
    incoming: Receiver<Request>,
    wake: Arc<OwnedFd>,
    sink: Arc<dyn Sink>,
    /// Contents of one value that were printed one after the other.
    value: Option<Bundle>,
    /// The end of what the cell has written to standard error.
    last_errors: String,
    /// Since when a rich content has been held that has not ended.
    block_since: Option<Instant>,
}

impl Reader {
    fn run(mut self) {
        loop {
            let limit = self.patience();
            let ready = {
                let mut fds = [
                    PollFd::new(&self.stdout.fd, PollFlags::IN),
                    PollFd::new(&self.stderr.fd, PollFlags::IN),
                    PollFd::from_borrowed_fd(self.wake.as_fd(), PollFlags::IN),
                ];
                match poll(&mut fds, limit.as_ref()) {
                    Ok(ready) => ready,
                    Err(rustix::io::Errno::INTR) => continue,
                    Err(_) => return,
                }
            };
            if ready == 0 {
                self.flush_short();
            }
            if self.give_up_block() || ready == 0 {
                continue;
            }
            self.read_available();
            let mut counter = [0; 8];
            let _ = rustix::io::read(&*self.wake, &mut counter);
            loop {
                match self.incoming.try_recv() {
                    Ok(request) => self.answer(request),
                    Err(mpsc::TryRecvError::Empty) => break,
                    Err(mpsc::TryRecvError::Disconnected) => return,
                }
            }
        }
    }

    /// How long to wait for more before something that is held has to go out.
    fn patience(&self) -> Option<Timespec> {
        if self.stdout.splitter.holds_short() || self.stderr.splitter.holds_short() {
            return Some(HOLD);
        }
        let left = BLOCK_HOLD.saturating_sub(self.block_since?.elapsed());
        Timespec::try_from(left).ok()
    }

    /// Publishes as text a rich content that does not end. `false` when there is none.
    fn give_up_block(&mut self) -> bool {
        if self
            .block_since
            .is_none_or(|since| since.elapsed() < BLOCK_HOLD)
        {
            return false;
        }
        self.block_since = None;
        let held = self.stdout.splitter.flush();
        self.publish_stdout(held.into_iter().collect());
        if let Some(held) = self.stderr.splitter.flush() {
            self.publish_stderr(held);
        }
        true
    }

    fn answer(&mut self, request: Request) {
        self.read_available();
        match request {
            Request::Drain(answer) => {
                self.show_value_as_display();
                let _ = answer.send(());
            }
            Request::EndCell(answer) => {
                self.flush();
                let _ = answer.send(Printed {
                    value: self.value.take(),
                    last_errors: std::mem::take(&mut self.last_errors),
                });
            }
        }
    }

    /// Publishes what can be read without waiting.
    fn read_available(&mut self) {
        let mut buffer = vec![0; READ_SIZE];
        // What was written before this call fits into the pipe. A thread that prints without pause
        // must not keep it from returning.
        let mut budget = PIPE_SIZE;
        while budget > 0 {
            let from_stdout = self.stdout.read(&mut buffer);
            let pieces = self.stdout.splitter.push(&buffer[..from_stdout]);
            self.publish_stdout(pieces);
            let from_stderr = self.stderr.read(&mut buffer);
            for piece in self.stderr.splitter.push(&buffer[..from_stderr]) {
                self.publish_stderr(piece);
            }
            let holds = self.stdout.splitter.holds_block() || self.stderr.splitter.holds_block();
            if !holds {
                self.block_since = None;
            } else if self.block_since.is_none() {
                self.block_since = Some(Instant::now());
            }
            if from_stdout == 0 && from_stderr == 0 {
                return;
            }
            budget = budget.saturating_sub(from_stdout.max(from_stderr));
        }
    }

    fn flush_short(&mut self) {
        let held = self.stdout.splitter.flush_short();
        self.publish_stdout(held.into_iter().collect());
        if let Some(held) = self.stderr.splitter.flush_short() {
            self.publish_stderr(held);
        }
    }

    fn flush(&mut self) {
        let rest = self.stdout.splitter.flush();
        self.publish_stdout(rest.into_iter().collect());
        if let Some(rest) = self.stderr.splitter.flush() {
            self.publish_stderr(rest);
        }
        self.block_since = None;
        self.stdout.splitter.start_cell();
        self.stderr.splitter.start_cell();
    }

    fn publish_stdout(&mut self, pieces: Vec<Piece>) {
        for piece in pieces {
            match piece {
                Piece::Text(text) => {
                    self.show_value_as_display();
                    self.sink.stream(Stream::Stdout, &text);
                }
                Piece::Content { mime, content } => {
                    // The same type again begins another value.
                    if self
                        .value
                        .as_ref()
                        .is_some_and(|value| value.data.contains_key(&mime))
                    {
                        self.show_value_as_display();
                    }
                    Piece::gather(self.value.get_or_insert_default(), &mime, content);
                }
            }
        }
    }

    fn publish_stderr(&mut self, piece: Piece) {
        let (Piece::Text(text) | Piece::Content { content: text, .. }) = piece;
        self.sink.stream(Stream::Stderr, &text);
        self.last_errors.push_str(&text);
        let surplus = self.last_errors.len().saturating_sub(LAST_ERRORS);
        let start = self.last_errors.ceil_char_boundary(surplus);
        self.last_errors.drain(..start);
    }

    fn show_value_as_display(&mut self) {
        if let Some(bundle) = self.value.take() {
            self.sink.display(bundle, None);
        }
    }
}

struct Pipe {
    fd: OwnedFd,
    splitter: Splitter,
}

impl Pipe {
    /// Opened for both directions, so that it neither waits for a writer nor ends with one.
    fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())?;
        // A larger pipe saves a flooding cell from waiting; the default works as well.
        let _ = rustix::pipe::fcntl_setpipe_size(&fd, PIPE_SIZE);
        Ok(Self {
            fd,
            splitter: Splitter::default(),
        })
    }

    fn read(&mut self, buffer: &mut [u8]) -> usize {
        rustix::io::read(&self.fd, buffer).unwrap_or(0)
    }
}
