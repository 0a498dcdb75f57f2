//! Reaching the model host: a running one when there is one, a new one otherwise, and a host of
//! another version is asked to leave first.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::{fs::OpenOptionsExt, net::UnixStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use wire::{
    BINARY_VAR, Failure, FailureKind, PROTOCOL_VERSION, SESSION_VAR, frame,
    host::{ClientMessage, Hello, HostMessage, Request, Welcome},
    hub::HubVariables,
};

use super::place::{self, Place};

/// A host binds its socket within milliseconds; a machine under load may take a thousand times that.
const START_LIMIT: Duration = Duration::from_secs(20);
const WELCOME_LIMIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);

/// A connection past its greeting, and the bytes read behind the greeting.
pub(super) fn reach_host() -> Result<(UnixStream, frame::Decoder), Failure> {
    let place = place::find()?;
    let limit = Instant::now() + START_LIMIT;
    while let Ok(stream) = UnixStream::connect(&place.socket) {
        match greet(stream) {
            Ok(Some(greeted)) => return Ok(greeted),
            Ok(None) => {
                wait_for_leave(&place)?;
                break;
            }
            // It ended while this client waited to be let in.
            Err(error) if is_hang_up(&error) && Instant::now() < limit => thread::sleep(POLL),
            Err(error) => return Err(no_greeting(&error)),
        }
    }
    let stream = start(&place)?;
    greet(stream)
        .map_err(|error| no_greeting(&error))?
        .ok_or_else(|| {
            Failure::new(
                FailureKind::Host,
                "the model host that was started is of another version than this library",
            )
            .hint(format!(
                "set {BINARY_VAR} to the `warmcell` of this library, or install it again"
            ))
        })
}

/// Says hello. `None` when the host is of another version; it has then been asked to leave.
fn greet(mut stream: UnixStream) -> io::Result<Option<(UnixStream, frame::Decoder)>> {
    let session = std::env::var(SESSION_VAR).unwrap_or_default();
    send(
        &mut stream,
        &ClientMessage::Hello(Hello {
            protocol: PROTOCOL_VERSION,
            session,
        }),
    )?;
    stream.set_read_timeout(Some(WELCOME_LIMIT))?;
    let mut decoder = frame::Decoder::default();
    let welcome = read_welcome(&mut stream, &mut decoder)?;
    stream.set_read_timeout(None)?;
    if welcome.protocol == PROTOCOL_VERSION {
        return Ok(Some((stream, decoder)));
    }
    // It may close the connection first; then it has left this client in peace, and is waited for.
    let _ = send(
        &mut stream,
        &ClientMessage::Request {
            id: 0,
            request: Request::Shutdown,
            hub: HubVariables::default(),
        },
    );
    Ok(None)
}

fn send(stream: &mut UnixStream, message: &ClientMessage) -> io::Result<()> {
    stream.write_all(&frame::encode(message).map_err(io::Error::other)?)
}

fn read_welcome(stream: &mut UnixStream, decoder: &mut frame::Decoder) -> io::Result<Welcome> {
    let mut buffer = [0; 4096];
    loop {
        match decoder.next().map_err(io::Error::other)? {
            Some(HostMessage::Welcome(welcome)) => return Ok(welcome),
            Some(HostMessage::Event { .. }) => {
                return Err(io::Error::other("an event came before the greeting"));
            }
            None => {}
        }
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => decoder.push(&buffer[..length]),
        }
    }
}

fn is_hang_up(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

fn no_greeting(error: &io::Error) -> Failure {
    Failure::new(
        FailureKind::Host,
        format!("the model host does not answer: {error}"),
    )
    .hint("`warmcell host stop` ends it; the next cell starts a new one")
}

/// Waits until a host that was asked to leave is gone.
fn wait_for_leave(place: &Place) -> Result<(), Failure> {
    let limit = Instant::now() + START_LIMIT;
    while Instant::now() < limit {
        if UnixStream::connect(&place.socket).is_err() {
            return Ok(());
        }
        thread::sleep(POLL);
    }
    Err(Failure::new(
        FailureKind::Host,
        "a model host of another version runs and does not leave",
    )
    .hint("`warmcell host stop`, with the `warmcell` that started it"))
}

/// Starts a host and waits until it listens. Another client may have started one at the same time:
/// then this one leaves by itself, and the other is reached.
fn start(place: &Place) -> Result<UnixStream, Failure> {
    let binary = std::env::var_os(BINARY_VAR)
        .filter(|path| !path.is_empty())
        .unwrap_or_else(|| OsString::from("warmcell"));
    let shown = binary.to_string_lossy().into_owned();
    let mut child = spawn(&binary, place).map_err(|error| {
        Failure::new(
            FailureKind::Host,
            format!("cannot start the model host: `{shown} host serve`: {error}"),
        )
        .hint(format!(
            "put `warmcell` on the PATH, or set {BINARY_VAR} to it"
        ))
    })?;
    let limit = Instant::now() + START_LIMIT;
    while Instant::now() < limit {
        if let Ok(stream) = UnixStream::connect(&place.socket) {
            reap_later(child);
            return Ok(stream);
        }
        match child.try_wait() {
            Ok(Some(status)) if !status.success() => {
                return Err(failed_start(place, &status.to_string()));
            }
            // It left because another host holds the lock: one that starts, or one that is leaving.
            Ok(Some(_)) => {
                thread::sleep(5 * POLL);
                if let Ok(again) = spawn(&binary, place) {
                    child = again;
                }
            }
            _ => thread::sleep(POLL),
        }
    }
    reap_later(child);
    let message = format!(
        "`{shown} host serve` does not listen after {} s",
        START_LIMIT.as_secs()
    );
    Err(Failure::new(FailureKind::Host, message)
        .hint(format!("its log is in {}", place.log.display())))
}

fn failed_start(place: &Place, status: &str) -> Failure {
    let message = format!(
        "the model host ended at its start: {}",
        last_words(place, status)
    );
    Failure::new(FailureKind::Host, message)
        .hint(format!("the whole log is in {}", place.log.display()))
}

fn spawn(binary: &OsString, place: &Place) -> io::Result<Child> {
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&place.log)?;
    let errors: File = log.try_clone()?;
    // The host itself starts a new session, so that it outlives this process and its terminal. The
    // kernel's variables are this cell's, not the host's.
    Command::new(binary)
        .args(["host", "serve"])
        .env(wire::HOST_SOCKET_VAR, &place.socket)
        .env_remove(wire::KERNEL_SOCKET_VAR)
        .env_remove(SESSION_VAR)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .spawn()
}

/// A host that ends before this process must not stay behind as a zombie.
fn reap_later(mut child: Child) {
    let _ = thread::Builder::new()
        .name("warmcell-reaper".to_owned())
        .spawn(move || child.wait());
}

fn last_words(place: &Place, status: &str) -> String {
    let log = fs::read(&place.log).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    log.lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or(status)
        .to_owned()
}
