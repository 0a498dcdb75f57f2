//! One client: its greeting, its requests, each on a thread of its own, and its leaving, which ends
//! what it asked for.

use std::{
    io::{self, Read, Write},
    net::Shutdown,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::sockopt::socket_peercred,
    process::{PidfdFlags, pidfd_open},
};
use wire::{
    Failure, FailureKind, PROTOCOL_VERSION, frame,
    host::{ClientMessage, Event, HostMessage, Request, Response, Welcome},
    hub::HubVariables,
};

use crate::{
    place,
    registry::ClientId,
    server::{Host, Serve},
};

const HELLO_LIMIT: Duration = Duration::from_secs(10);

/// The client's end for events, shared by its requests.
type Writer = Arc<Mutex<UnixStream>>;

/// Serves a client until it leaves.
pub(crate) fn serve<S: Serve>(
    host: &Arc<Host<S>>,
    client: ClientId,
    stream: UnixStream,
) -> io::Result<()> {
    // The folder keeps others out; this holds where the folder was opened later.
    let peer = socket_peercred(stream.as_fd())?;
    if peer.uid.as_raw() != place::own_uid() {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "the client is another user's",
        ));
    }
    // What `accept` gives may be non-blocking like the listener, depending on the system.
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(host.config.write_timeout))?;
    stream.set_read_timeout(Some(HELLO_LIMIT))?;
    let mut reader = Reader {
        stream: stream.try_clone()?,
        decoder: frame::Decoder::default(),
        process: pidfd_open(peer.pid, PidfdFlags::empty()).ok(),
    };
    let Some(ClientMessage::Hello(hello)) = reader.next()? else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the first message is no hello",
        ));
    };
    let writer: Writer = Arc::new(Mutex::new(stream));
    let welcome = Welcome {
        protocol: PROTOCOL_VERSION,
        version: host.config.version.clone(),
        pid: std::process::id(),
    };
    write(&writer, &HostMessage::Welcome(welcome))?;
    if hello.protocol != PROTOCOL_VERSION {
        return serve_other_version(host, &mut reader);
    }
    reader.stream.set_read_timeout(None)?;
    let connection = Connection {
        host,
        client,
        session: hello.session,
        writer,
    };
    while let Some(message) = reader.next()? {
        connection.accept(message)?;
    }
    Ok(())
}

/// A client of another version may only end this host, to start its own.
fn serve_other_version<S: Serve>(host: &Host<S>, reader: &mut Reader) -> io::Result<()> {
    if let Some(ClientMessage::Request {
        request: Request::Shutdown,
        ..
    }) = reader.next()?
    {
        host.stop();
    }
    Ok(())
}

struct Connection<'a, S> {
    host: &'a Arc<Host<S>>,
    client: ClientId,
    session: String,
    writer: Writer,
}

impl<S: Serve> Connection<'_, S> {
    fn accept(&self, message: ClientMessage) -> io::Result<()> {
        match message {
            ClientMessage::Hello(_) => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a second hello"));
            }
            ClientMessage::Cancel { id } => self.host.registry.cancel(self.client, id),
            ClientMessage::CancelSession { session } => self.host.registry.cancel_session(&session),
            ClientMessage::Request {
                id,
                request: Request::Status,
                ..
            } => {
                self.answer(id, Event::Done(Response::Status(self.host.status())))?;
            }
            ClientMessage::Request {
                id,
                request: Request::Shutdown,
                ..
            } => {
                self.answer(id, Event::Done(Response::Stopping))?;
                self.host.stop();
            }
            ClientMessage::Request { id, request, hub } => self.start(id, request, hub)?,
        }
        Ok(())
    }

    fn answer(&self, id: u64, event: Event) -> io::Result<()> {
        write(&self.writer, &HostMessage::Event { id, event })
    }

    /// Runs a request on a thread of its own, so that the next can be taken and this one cancelled.
    fn start(&self, id: u64, request: Request, hub: HubVariables) -> io::Result<()> {
        let flag = S::Cancel::default();
        let cancelled = flag.clone();
        if !self.host.registry.begin(
            self.client,
            id,
            &self.session,
            Box::new(move || S::cancel(&cancelled)),
        ) {
            let failure = Failure::new(
                FailureKind::Host,
                "the model host is ending, or the request's id is taken",
            );
            return self.answer(id, Event::Failed(failure));
        }
        let (host, client, writer) = (Arc::clone(self.host), self.client, Arc::clone(&self.writer));
        let spawned = thread::Builder::new()
            .name(format!("request-{client}-{id}"))
            .spawn(move || {
                let answer = Answer {
                    writer: &writer,
                    id,
                };
                run(&host.service, (request, &hub), &flag, &answer);
                host.registry.end(client, id);
                host.wake();
            });
        if let Err(error) = spawned {
            self.host.registry.end(self.client, id);
            let failure = Failure::new(
                FailureKind::Internal,
                format!("the model host cannot start a thread: {error}"),
            );
            return self.answer(id, Event::Failed(failure));
        }
        Ok(())
    }
}

/// Where the events of one request go.
struct Answer<'a> {
    writer: &'a Writer,
    id: u64,
}

/// Runs a request, and sees to it that it has exactly one last event, whatever the service does.
fn run<S: Serve>(
    service: &S,
    (request, hub): (Request, &HubVariables),
    flag: &S::Cancel,
    answer: &Answer<'_>,
) {
    let id = answer.id;
    let mut is_over = false;
    let mut sink = |event: Event| {
        if is_over {
            return;
        }
        is_over = matches!(event, Event::Done(_) | Event::Failed(_));
        if let Err(error) = write(answer.writer, &HostMessage::Event { id, event }) {
            tracing::debug!(id, %error, "an event has no reader");
            S::cancel(flag);
        }
    };
    // The state that a panicking request leaves is the service's own, behind locks of its own.
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        service.handle(request, hub, flag, &mut sink);
    }));
    let fault = match outcome {
        Ok(()) => "a request ended without an answer".to_owned(),
        Err(panic) => format!("the model host failed: {}", panic_message(panic.as_ref())),
    };
    // Dropped where the request has had its last event.
    sink(Event::Failed(
        Failure::new(FailureKind::Internal, fault).hint("please report this, with the host's log"),
    ));
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("it panicked without words")
}

fn write(writer: &Writer, message: &HostMessage) -> io::Result<()> {
    let bytes = frame::encode(message).map_err(io::Error::other)?;
    let mut stream = writer.lock().unwrap_or_else(PoisonError::into_inner);
    stream.write_all(&bytes).inspect_err(|_| {
        // Half a frame may be out, behind which nothing can be understood: the client is to see an
        // end, and the reading thread too, which ends all that the client asked for.
        let _ = stream.shutdown(Shutdown::Both);
    })
}

/// The client's messages, one at a time.
struct Reader {
    stream: UnixStream,
    decoder: frame::Decoder,
    /// The process that connected; `None` on a system that cannot watch it.
    process: Option<OwnedFd>,
}

impl Reader {
    /// The next message; `None` when the client has left.
    fn next(&mut self) -> io::Result<Option<ClientMessage>> {
        let mut buffer = [0; 16 << 10];
        loop {
            if let Some(message) = self.decoder.next().map_err(io::Error::other)? {
                return Ok(Some(message));
            }
            if self.has_died()? {
                return Ok(None);
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(None),
                Ok(length) => self.decoder.push(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits for bytes, or for the end of the process that connected. A process that was forked from
    /// it holds a copy of the socket, which would keep the connection open behind its death.
    fn has_died(&self) -> io::Result<bool> {
        let Some(process) = &self.process else {
            return Ok(false);
        };
        // Before the greeting the socket itself has a time-out, which this wait must not pass over.
        let limit = self.stream.read_timeout()?;
        let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
        let mut ready = [
            PollFd::new(&self.stream, PollFlags::IN),
            PollFd::new(process, PollFlags::IN),
        ];
        loop {
            match poll(&mut ready, limit.as_ref()) {
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
                // What it sent before its end is read first.
                Ok(_) => return Ok(ready[0].revents().is_empty() && !ready[1].revents().is_empty()),
            }
        }
    }
}
