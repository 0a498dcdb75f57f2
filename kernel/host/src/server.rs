//! The host's main loop: takes clients, and ends when it is asked to or when nobody has come for
//! long.

use std::{
    io::{self, Read, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    path::PathBuf,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use wire::{
    host::{Event, HostStatus, Request},
    hub::HubVariables,
    model::Resident,
};

use crate::{HostError, Result, connection, listener::Listener, registry::Registry};

/// How long a host that ends waits for its requests to take notice.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// What the host serves: requests that run to their end on the calling thread, many at once.
pub trait Serve: Send + Sync + 'static {
    /// The flag by which a request is asked to end. Clones are the same flag.
    type Cancel: Clone + Default + Send + 'static;

    /// Sets a flag.
    fn cancel(flag: &Self::Cancel);

    /// Runs a request for a client with these variables; every event goes to `sink`, the last is
    /// `Done` or `Failed`. `Status` and `Shutdown` do not come here.
    fn handle(
        &self,
        request: Request,
        hub: &HubVariables,
        cancel: &Self::Cancel,
        sink: &mut dyn FnMut(Event),
    );

    /// The models in memory.
    fn residents(&self) -> Vec<Resident>;
}

/// Where to listen, and for how long.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// Path of the socket; its folder must be the user's own and closed to others.
    pub socket: PathBuf,
    /// Ends after this long without clients and requests.
    pub idle_timeout: Duration,
    /// A client that does not read for this long is gone: it must not hold up a model.
    pub write_timeout: Duration,
    /// Version of the program, told to clients.
    pub version: String,
}

impl HostConfig {
    /// Half an hour on the user's socket, and half a minute for a client to read.
    pub fn new(version: impl Into<String>) -> Self {
        Self {
            socket: crate::default_socket(),
            idle_timeout: Duration::from_mins(30),
            write_timeout: Duration::from_secs(30),
            version: version.into(),
        }
    }
}

/// What the connections share.
pub(crate) struct Host<S> {
    pub service: S,
    pub config: HostConfig,
    pub registry: Registry,
    started: Instant,
    /// A byte written here wakes the main loop.
    waker: UnixStream,
}

/// Serves until the host is asked to end or has been idle for long. Leaves its parent's session, so
/// that neither a closed terminal nor a killed cell takes it along.
///
/// # Errors
/// Another host serves the socket, its folder is open to others, or the system refuses.
pub fn serve<S: Serve>(config: HostConfig, service: S) -> Result<()> {
    // Fails for the leader of a process group: one that a shell started, which stays in its session.
    let _ = rustix::process::setsid();
    let listener = Listener::bind(&config.socket)?;
    tracing::info!(socket = %config.socket.display(), "listening");
    let (waker, wakened) =
        UnixStream::pair().map_err(HostError::io("make a pair of sockets for", &config.socket))?;
    let host = Arc::new(Host {
        service,
        config,
        registry: Registry::new(),
        started: Instant::now(),
        waker,
    });
    accept_clients(&host, &listener, &wakened)?;
    drop(listener);
    host.registry.stop();
    let limit = Instant::now() + DRAIN_LIMIT;
    while host.registry.has_requests() && Instant::now() < limit {
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Gives each client a thread, until the host is to end.
fn accept_clients<S: Serve>(
    host: &Arc<Host<S>>,
    listener: &Listener,
    mut wakened: &UnixStream,
) -> Result<()> {
    for client in 0.. {
        let stream = loop {
            let idle = host.registry.idle();
            if host.registry.is_stopping() || idle >= host.config.idle_timeout {
                tracing::info!(idle_seconds = idle.as_secs(), "leaving");
                return Ok(());
            }
            match listener.socket.accept() {
                Ok((stream, _)) => break stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Too many open files, or a client that left in the queue: try again after a while.
                Err(error) => {
                    tracing::warn!(%error, "a client could not be accepted");
                    thread::sleep(Duration::from_millis(100));
                }
            }
            wait(
                listener,
                wakened,
                host.config.idle_timeout.saturating_sub(idle),
            )?;
        };
        let host = Arc::clone(host);
        host.registry.client_came();
        let spawned = thread::Builder::new()
            .name(format!("client-{client}"))
            .spawn({
                let host = Arc::clone(&host);
                move || {
                    if let Err(error) = connection::serve(&host, client, stream) {
                        tracing::debug!(client, %error, "connection ended");
                    }
                    host.registry.client_left(client);
                    host.wake();
                }
            });
        if let Err(error) = spawned {
            tracing::error!(%error, "no thread for a client");
            host.registry.client_left(client);
        }
        // Old wake-ups are answered by looking at the registry.
        let mut drained = [0; 64];
        let _ = wakened
            .set_nonblocking(true)
            .and_then(|()| wakened.read(&mut drained));
    }
    Ok(())
}

/// Waits for a client, for something to have happened, or for the time to be up.
fn wait(listener: &Listener, mut wakened: &UnixStream, limit: Duration) -> Result<()> {
    let limit = Timespec::try_from(limit.max(Duration::from_millis(1))).ok();
    let (socket, wake) = (listener.socket.as_fd(), wakened.as_fd());
    let mut ready = [
        PollFd::from_borrowed_fd(socket, PollFlags::IN),
        PollFd::from_borrowed_fd(wake, PollFlags::IN),
    ];
    match poll(&mut ready, limit.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(HostError::io("wait on", "the host's socket")(error.into())),
    }
    if !ready[1].revents().is_empty() {
        let mut drained = [0; 64];
        let _ = wakened.read(&mut drained);
    }
    Ok(())
}

impl<S: Serve> Host<S> {
    /// Lets the main loop look at the registry again.
    pub fn wake(&self) {
        // A full buffer has enough in it to wake.
        let _ = (&self.waker).write(&[0]);
    }

    /// Ends the host.
    pub fn stop(&self) {
        self.registry.stop();
        self.wake();
    }

    pub fn status(&self) -> HostStatus {
        HostStatus {
            pid: std::process::id(),
            version: self.config.version.clone(),
            uptime_seconds: self.started.elapsed().as_secs_f64(),
            idle_timeout_seconds: self.config.idle_timeout.as_secs_f64(),
            process_bytes: process_bytes().unwrap_or(0),
            models: self.service.residents(),
            clients: self.registry.clients(),
        }
    }
}

/// Bytes of main memory that this process takes: `VmRSS` of `/proc/self/status`, which is in kB.
fn process_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}
