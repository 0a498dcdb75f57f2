//! This process's connection to the model host. A thread reads what the host sends and hands each
//! event to the call it belongs to. A connection that broke is replaced at the next request; a process
//! that was forked has none.

mod place;
mod start;

use std::{
    collections::HashMap,
    io::{self, Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Sender},
    },
    thread,
};

use wire::{
    Failure, FailureKind, frame,
    host::{ClientMessage, Event, HostMessage, Request},
};

use crate::{
    backend::{Call, hub_variables},
    cell::unsafe_fork::{PerProcess, Socket},
};

struct Connection {
    stream: Socket,
    /// Held while a message is written.
    writing: Mutex<()>,
    calls: Mutex<Calls>,
    next_id: AtomicU64,
}

#[derive(Default)]
struct Calls {
    open: HashMap<u64, Sender<Event>>,
    is_broken: bool,
}

static CONNECTION: PerProcess<Mutex<Option<Arc<Connection>>>> = PerProcess::new();

/// Sends a request over this process's connection, which is opened, and its host started, if needed.
pub(crate) fn start(request: &Request) -> Result<Call, Failure> {
    let connection = connect()?;
    match connection.send(request) {
        Ok(call) => Ok(call),
        // It broke between two requests, most likely because the host was stopped.
        Err(_) => connect()?.send(request).map_err(|error| {
            Failure::new(
                FailureKind::Host,
                format!("the model host does not take requests: {error}"),
            )
            .hint("`warmcell host status` says what it does")
        }),
    }
}

fn connect() -> Result<Arc<Connection>, Failure> {
    let mut slot = lock(CONNECTION.get());
    if let Some(connection) = slot.as_ref().filter(|connection| connection.is_usable()) {
        return Ok(Arc::clone(connection));
    }
    let connection = Connection::new(start::reach_host()?)?;
    *slot = Some(Arc::clone(&connection));
    Ok(connection)
}

impl Connection {
    fn new((stream, decoder): (UnixStream, frame::Decoder)) -> Result<Arc<Self>, Failure> {
        let io = |error: io::Error| {
            Failure::new(
                FailureKind::Host,
                format!("cannot use the model host's socket: {error}"),
            )
        };
        let connection = Arc::new(Self {
            stream: Socket::new(stream).map_err(io)?,
            writing: Mutex::default(),
            calls: Mutex::default(),
            next_id: AtomicU64::new(1),
        });
        let shared = Arc::clone(&connection);
        thread::Builder::new()
            .name("warmcell-host".to_owned())
            .spawn(move || {
                // Whatever ends the stream, end of file or a broken frame, ends all calls alike.
                let _ = shared.read(decoder);
                shared.break_off();
            })
            .map_err(io)?;
        Ok(connection)
    }

    fn is_usable(&self) -> bool {
        !lock(&self.calls).is_broken
    }

    fn send(self: &Arc<Self>, request: &Request) -> io::Result<Call> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, events) = mpsc::channel();
        {
            let mut calls = lock(&self.calls);
            if calls.is_broken {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            calls.open.insert(id, sender);
        }
        self.write(&ClientMessage::Request {
            id,
            request: request.clone(),
            hub: hub_variables(),
        })
        .inspect_err(|_| self.break_off())?;
        let connection = Arc::clone(self);
        let forgetting = Arc::clone(self);
        let forget = move || drop(lock(&forgetting.calls).open.remove(&id));
        let cancel = move || {
            // A host that is gone has nothing left to cancel.
            let _ = connection.write(&ClientMessage::Cancel { id });
        };
        Ok(Call::new(events, Box::new(cancel), Box::new(forget), lost))
    }

    fn write(&self, message: &ClientMessage) -> io::Result<()> {
        let bytes = frame::encode(message).map_err(io::Error::other)?;
        let _turn = lock(&self.writing);
        (&*self.stream).write_all(&bytes)
    }

    fn read(&self, mut decoder: frame::Decoder) -> io::Result<()> {
        let mut stream: &UnixStream = &self.stream;
        let mut buffer = vec![0; 64 << 10];
        loop {
            while let Some(message) = decoder.next::<HostMessage>().map_err(io::Error::other)? {
                if let HostMessage::Event { id, event } = message {
                    self.dispatch(id, event);
                }
            }
            match stream.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(length) => decoder.push(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn dispatch(&self, id: u64, event: Event) {
        let mut calls = lock(&self.calls);
        let is_last = matches!(event, Event::Done(_) | Event::Failed(_));
        let sender = if is_last {
            calls.open.remove(&id)
        } else {
            calls.open.get(&id).cloned()
        };
        // A call that was dropped has been cancelled; its last events are for nobody.
        if let Some(sender) = sender {
            let _ = sender.send(event);
        }
    }

    /// Ends all calls: their channels close, which they report as a lost host.
    fn break_off(&self) {
        let mut calls = lock(&self.calls);
        calls.is_broken = true;
        calls.open.clear();
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

fn lost() -> Failure {
    Failure::new(
        FailureKind::Host,
        "the model host ended while a request ran",
    )
    .hint("run the cell again: the host is started and the model is loaded again")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
