//! What the command line and the kernel ask of a running host. One connection a question; the
//! library's connection for many requests is in `lib/warmcell`.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use wire::{
    HOST_SOCKET_VAR, PROTOCOL_VERSION, frame,
    host::{ClientMessage, Event, Hello, HostMessage, HostStatus, Request, Response, UnloadTarget},
    hub::HubVariables,
    model::Resident,
};

use crate::{HostError, Result};

const LIMIT: Duration = Duration::from_secs(20);
/// A host that hangs is not waited for.
const CANCEL_LIMIT: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(10);

/// What the host holds; `None` when no host runs. The client that asks is none of its clients: it is gone
/// when this is read.
///
/// # Errors
/// The host does not answer, or is of another version.
pub fn status(socket: &Path) -> Result<Option<HostStatus>> {
    let limit = Instant::now() + LIMIT;
    loop {
        let Some(mut host) = Connection::open(socket)? else {
            return Ok(None);
        };
        match host.ask(Request::Status) {
            Ok(Response::Status(status)) => {
                let clients = status.clients.saturating_sub(1);
                return Ok(Some(HostStatus { clients, ..status }));
            }
            Ok(_) => return Err(unexpected(socket)),
            // It ends, and is soon none.
            Err(HostError::Ended) if Instant::now() < limit => thread::sleep(POLL),
            Err(error) => return Err(error),
        }
    }
}

/// Ends the host and waits until it is gone. `false` when none ran. Works on a host of any version.
///
/// # Errors
/// The host does not leave.
pub fn stop(socket: &Path) -> Result<bool> {
    let Some((mut host, _)) = Connection::greeted(socket, "", LIMIT)? else {
        return Ok(false);
    };
    host.send(&ClientMessage::Request {
        id: 1,
        request: Request::Shutdown,
        hub: HubVariables::default(),
    })
    .map_err(HostError::io("stop", socket))?;
    wait_until_gone(socket)?;
    Ok(true)
}

/// Frees models, and gives what was freed. Nothing when no host runs.
///
/// # Errors
/// No model matches, or the host does not answer.
pub fn unload(socket: &Path, target: UnloadTarget) -> Result<Vec<Resident>> {
    let Some(mut host) = Connection::open(socket)? else {
        return Ok(Vec::new());
    };
    match host.ask(Request::Unload(target))? {
        Response::Unloaded(freed) => Ok(freed),
        _ => Err(unexpected(socket)),
    }
}

/// Sends one request in the name of a kernel, and gives its answer; `on_event` hears the news before
/// it. `hub` says where the host may fetch what it has not: it was started with the variables of whoever
/// came first. It may take as long as a download takes: [`cancel_session`] ends it.
///
/// # Errors
/// No host runs, it ends meanwhile, or it answers with a failure.
pub fn request(
    socket: &Path,
    session: &str,
    request: Request,
    hub: HubVariables,
    on_event: &mut dyn FnMut(Event),
) -> Result<Response> {
    let Some(mut host) = Connection::open_for(socket, session, LIMIT)? else {
        return Err(HostError::io("reach the model host on", socket)(
            io::ErrorKind::NotConnected.into(),
        ));
    };
    host.stream
        .set_read_timeout(None)
        .map_err(HostError::io("reach", socket))?;
    host.ask_with(request, hub, on_event)
}

/// Ends all requests of one kernel: what an interrupt does first. Nothing when no host runs. It returns once
/// that is done: a request that is made then is none of them.
///
/// # Errors
/// The host does not answer.
pub fn cancel_session(socket: &Path, session: &str) -> Result<()> {
    let Some(mut host) = Connection::open_for(socket, "", CANCEL_LIMIT)? else {
        return Ok(());
    };
    let reach = || HostError::io("reach", socket);
    host.stream
        .set_read_timeout(Some(CANCEL_LIMIT))
        .map_err(reach())?;
    host.send(&ClientMessage::CancelSession {
        session: session.to_owned(),
    })
    .map_err(reach())?;
    // The host takes what comes on a connection in turn: when this is answered, that is done.
    match host.ask(Request::Status) {
        // With it all its requests have ended.
        Ok(_) | Err(HostError::Ended) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Starts a host by `binary host serve` unless one runs, waits until it answers, and gives what it
/// says of itself. `log` takes what it prints.
///
/// # Errors
/// It cannot be started, or does not answer.
pub fn start(binary: &Path, socket: &Path, log: Stdio) -> Result<HostStatus> {
    if let Some(status) = status(socket)? {
        return Ok(status);
    }
    let mut child = Command::new(binary)
        .args(["host", "serve"])
        .env(HOST_SOCKET_VAR, socket)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .map_err(HostError::io("start", binary))?;
    let limit = Instant::now() + LIMIT;
    while Instant::now() < limit {
        if let Some(status) = status(socket)? {
            return Ok(status);
        }
        if has_failed(&mut child) {
            break;
        }
        thread::sleep(POLL);
    }
    Err(HostError::io("start", binary)(io::Error::new(
        io::ErrorKind::TimedOut,
        "it does not listen; see its log",
    )))
}

fn has_failed(child: &mut Child) -> bool {
    matches!(child.try_wait(), Ok(Some(status)) if !status.success())
}

fn wait_until_gone(socket: &Path) -> Result<()> {
    let limit = Instant::now() + LIMIT;
    while Instant::now() < limit {
        if UnixStream::connect(socket).is_err() {
            return Ok(());
        }
        thread::sleep(POLL);
    }
    Err(HostError::io("stop the host on", socket)(
        io::ErrorKind::TimedOut.into(),
    ))
}

fn is_hang_up(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

fn unexpected(socket: &Path) -> HostError {
    HostError::io("understand the host on", socket)(io::ErrorKind::InvalidData.into())
}

/// A connection past its greeting.
struct Connection<'a> {
    socket: &'a Path,
    stream: UnixStream,
    decoder: frame::Decoder,
}

impl<'a> Connection<'a> {
    /// Connects to a host of this version; `None` when nobody listens.
    fn open(socket: &'a Path) -> Result<Option<Self>> {
        Self::open_for(socket, "", LIMIT)
    }

    /// The same, for a kernel whose requests can be cancelled by its session.
    fn open_for(socket: &'a Path, session: &str, limit: Duration) -> Result<Option<Self>> {
        match Self::greeted(socket, session, limit)? {
            Some((host, PROTOCOL_VERSION)) => Ok(Some(host)),
            Some((_, theirs)) => Err(HostError::Protocol {
                ours: PROTOCOL_VERSION,
                theirs,
            }),
            None => Ok(None),
        }
    }

    /// Connects to a host of any version, and gives its version of the protocol. One that ends meanwhile is waited for:
    /// where its card is lost, or its models are large, its socket goes after its answers.
    fn greeted(socket: &'a Path, session: &str, limit: Duration) -> Result<Option<(Self, u32)>> {
        let limit = Instant::now() + limit;
        loop {
            let stream = match UnixStream::connect(socket) {
                Ok(stream) => stream,
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                    ) =>
                {
                    return Ok(None);
                }
                Err(error) => return Err(HostError::io("reach the model host on", socket)(error)),
            };
            let mut host = Self {
                socket,
                stream,
                decoder: frame::Decoder::default(),
            };
            match host.greet(session) {
                Ok(theirs) => return Ok(Some((host, theirs))),
                Err(error) if is_hang_up(&error) && Instant::now() < limit => thread::sleep(POLL),
                Err(error) => return Err(HostError::io("reach the model host on", socket)(error)),
            }
        }
    }

    /// Says hello, and gives the host's version of the protocol.
    fn greet(&mut self, session: &str) -> io::Result<u32> {
        self.stream.set_read_timeout(Some(LIMIT))?;
        self.send(&ClientMessage::Hello(Hello {
            protocol: PROTOCOL_VERSION,
            session: session.to_owned(),
        }))?;
        match self.receive()? {
            HostMessage::Welcome(welcome) => Ok(welcome.protocol),
            HostMessage::Event { .. } => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Asks one question and waits for its answer.
    fn ask(&mut self, request: Request) -> Result<Response> {
        // What is asked so makes the host fetch nothing.
        self.ask_with(request, HubVariables::default(), &mut |_| {})
    }

    fn ask_with(
        &mut self,
        request: Request,
        hub: HubVariables,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<Response> {
        let socket = self.socket;
        let failed = |error: io::Error| {
            if is_hang_up(&error) {
                return HostError::Ended;
            }
            HostError::io("hear the model host on", socket)(error)
        };
        self.send(&ClientMessage::Request {
            id: 1,
            request,
            hub,
        })
        .map_err(failed)?;
        loop {
            match self.receive().map_err(failed)? {
                HostMessage::Event {
                    event: Event::Done(response),
                    ..
                } => return Ok(response),
                HostMessage::Event {
                    event: Event::Failed(failure),
                    ..
                } => return Err(failure.into()),
                HostMessage::Event { event, .. } => on_event(event),
                HostMessage::Welcome(_) => {}
            }
        }
    }

    fn send(&mut self, message: &ClientMessage) -> io::Result<()> {
        self.stream
            .write_all(&frame::encode(message).map_err(io::Error::other)?)
    }

    fn receive(&mut self) -> io::Result<HostMessage> {
        let mut buffer = [0; 16 << 10];
        loop {
            if let Some(message) = self.decoder.next().map_err(io::Error::other)? {
                return Ok(message);
            }
            match self.stream.read(&mut buffer)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                length => self.decoder.push(&buffer[..length]),
            }
        }
    }
}
