//! A publishing socket that tells who subscribed (`ZeroMQ`'s XPUB), over tcp and ipc.
//!
//! Why not `zeromq`'s: in 0.7 its `XPubSocket` sends to one subscriber after the other, so that one
//! who stopped reading holds up all who come after, and a time-out on the send makes those lose
//! the message; it cannot address the new subscriber alone, who is due an `iopub_welcome`; and
//! what is queued is lost when the process ends. Its `PubSocket` does not tell of subscriptions.
//! Here each subscriber has a queue and a writer, and closing waits for the queues.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufWriter};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use zeromq::{SocketSend, ZmqMessage, ZmqResult};

use crate::connection;
use crate::zmtp;

/// How much may wait for one subscriber, in units of [`UNIT`]: 64 MiB.
const QUEUE_UNITS: usize = 64 * 1024;
const UNIT: usize = 1024;

/// How long a send waits for a subscriber whose queue is full, before that one loses messages.
const STALL: Duration = Duration::from_secs(1);

const HANDSHAKE: Duration = Duration::from_secs(10);

/// Names a subscriber's connection.
pub(crate) type PeerId = u64;

/// A subscription that has just been made.
pub(crate) struct Subscription {
    /// Who made it.
    pub(crate) peer: PeerId,
    /// The prefix of the first frame that it asks for.
    pub(crate) topic: Vec<u8>,
}

/// The socket.
pub(crate) struct Xpub {
    events: mpsc::UnboundedReceiver<Event>,
    peers: HashMap<PeerId, Peer>,
    acceptor: JoinHandle<()>,
    /// The only one to send to, or everyone who subscribed.
    addressee: Option<PeerId>,
}

struct Peer {
    queue: mpsc::UnboundedSender<Queued>,
    room: Arc<Semaphore>,
    topics: Vec<Vec<u8>>,
    stalled: bool,
}

struct Queued {
    bytes: Bytes,
    /// Held until the bytes are written: it is the room that they take in the queue.
    _room: Option<OwnedSemaphorePermit>,
}

enum Event {
    Joined(PeerId, mpsc::UnboundedSender<Queued>),
    Subscribed(PeerId, Vec<u8>),
    Unsubscribed(PeerId, Vec<u8>),
    Left(PeerId),
}

impl Xpub {
    /// Listens on a `tcp://` or `ipc://` endpoint.
    pub(crate) async fn bind(endpoint: &str) -> io::Result<Self> {
        let listener = Listener::bind(endpoint).await?;
        let (sender, events) = mpsc::unbounded_channel();
        let acceptor = tokio::spawn(accept(listener, sender));
        Ok(Self {
            events,
            peers: HashMap::new(),
            acceptor,
            addressee: None,
        })
    }

    /// Whether anybody would get a message now.
    pub(crate) fn has_subscriber(&self) -> bool {
        self.peers.values().any(|peer| !peer.topics.is_empty())
    }

    /// Waits for the next subscription. Nothing is sent to a subscription before it was returned
    /// here, so that the caller can send it a welcome first. Can be cancelled without loss.
    pub(crate) async fn subscription(&mut self) -> Subscription {
        loop {
            // The acceptor holds a sender for as long as this socket lives.
            let Some(event) = self.events.recv().await else {
                std::future::pending().await
            };
            match event {
                Event::Joined(id, queue) => {
                    let room = Arc::new(Semaphore::new(QUEUE_UNITS));
                    self.peers.insert(
                        id,
                        Peer {
                            queue,
                            room,
                            topics: Vec::new(),
                            stalled: false,
                        },
                    );
                }
                Event::Subscribed(id, topic) => {
                    let Some(peer) = self.peers.get_mut(&id) else {
                        continue;
                    };
                    peer.topics.push(topic.clone());
                    return Subscription { peer: id, topic };
                }
                Event::Unsubscribed(id, topic) => {
                    let Some(peer) = self.peers.get_mut(&id) else {
                        continue;
                    };
                    if let Some(index) = peer.topics.iter().position(|t| *t == topic) {
                        peer.topics.swap_remove(index);
                    }
                }
                Event::Left(id) => {
                    self.peers.remove(&id);
                }
            }
        }
    }

    /// Sends what follows to one subscriber only, or again to all.
    pub(crate) fn address(&mut self, peer: Option<PeerId>) {
        self.addressee = peer;
    }

    /// Stops listening and waits until everything is written, at most for `linger`.
    pub(crate) async fn close(mut self, linger: Duration) {
        self.acceptor.abort();
        let peers = std::mem::take(&mut self.peers);
        let queues: Vec<_> = peers.into_values().map(|peer| peer.queue).collect();
        let closed = async {
            for queue in queues {
                // An empty message is the end: the writer flushes, closes and drops its receiver.
                let _ = queue.send(Queued {
                    bytes: Bytes::new(),
                    _room: None,
                });
                queue.closed().await;
            }
        };
        if timeout(linger, closed).await.is_err() {
            tracing::warn!("a subscriber does not read: its last messages are lost");
        }
    }

    async fn publish(&mut self, message: ZmqMessage) {
        let frames = message.into_vec();
        let bytes = zmtp::message(&frames);
        let units = bytes.len().div_ceil(UNIT).clamp(1, QUEUE_UNITS) as u32;
        let deadline = Instant::now() + STALL;
        for (id, peer) in &mut self.peers {
            let wanted = match self.addressee {
                Some(addressee) => addressee == *id,
                None => peer.topics.iter().any(|topic| frames[0].starts_with(topic)),
            };
            if wanted && let Some(room) = peer.room(units, deadline, *id).await {
                let _ = peer.queue.send(Queued {
                    bytes: bytes.clone(),
                    _room: Some(room),
                });
            }
        }
    }
}

impl Peer {
    /// Room in the queue, if there is some before `deadline`. One who let a deadline pass loses
    /// messages without a wait, until half of its queue is read.
    async fn room(
        &mut self,
        units: u32,
        deadline: Instant,
        id: PeerId,
    ) -> Option<OwnedSemaphorePermit> {
        if self.stalled && self.room.available_permits() < QUEUE_UNITS / 2 {
            return None;
        }
        self.stalled = false;
        let room = timeout_at(deadline, self.room.clone().acquire_many_owned(units)).await;
        let Ok(room) = room else {
            tracing::warn!(peer = id, "a subscriber does not read: it loses messages");
            self.stalled = true;
            return None;
        };
        room.ok()
    }
}

impl SocketSend for Xpub {
    // As `async_trait` writes `async fn send`.
    fn send<'life, 'future>(
        &'life mut self,
        message: ZmqMessage,
    ) -> Pin<Box<dyn Future<Output = ZmqResult<()>> + Send + 'future>>
    where
        'life: 'future,
        Self: 'future,
    {
        Box::pin(async move {
            self.publish(message).await;
            Ok(())
        })
    }
}

enum Listener {
    Tcp(TcpListener),
    Ipc(UnixListener),
}

impl Listener {
    async fn bind(endpoint: &str) -> io::Result<Self> {
        if let Some(path) = connection::ipc_path(endpoint) {
            return Ok(Self::Ipc(UnixListener::bind(path)?));
        }
        let address = endpoint.strip_prefix("tcp://").unwrap_or(endpoint);
        Ok(Self::Tcp(TcpListener::bind(address).await?))
    }
}

async fn accept(listener: Listener, events: mpsc::UnboundedSender<Event>) {
    for id in 1.. {
        let accepted = match &listener {
            Listener::Tcp(listener) => listener.accept().await.map(|(stream, _)| {
                let _ = stream.set_nodelay(true);
                tokio::spawn(serve(id, stream, events.clone()));
            }),
            Listener::Ipc(listener) => listener.accept().await.map(|(stream, _)| {
                tokio::spawn(serve(id, stream, events.clone()));
            }),
        };
        if let Err(error) = accepted {
            // Out of file descriptors: trying again at once would only burn time.
            tracing::warn!(%error, "cannot accept a subscriber");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn serve<S>(id: PeerId, mut stream: S, events: mpsc::UnboundedSender<Event>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    match timeout(HANDSHAKE, zmtp::handshake(&mut stream)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return tracing::debug!(%error, "refused a subscriber"),
        Err(_) => return tracing::debug!("a subscriber did not greet"),
    }
    let (reader, writer) = tokio::io::split(stream);
    let (sender, queue) = mpsc::unbounded_channel();
    let _ = events.send(Event::Joined(id, sender.clone()));
    tokio::select! {
        result = read(id, reader, &events, &sender) => tracing::debug!(?result, "subscriber left"),
        result = write(writer, queue) => tracing::debug!(?result, "subscriber closed"),
    }
    let _ = events.send(Event::Left(id));
}

/// Reads subscriptions until the subscriber leaves.
async fn read<R: AsyncRead + Unpin>(
    id: PeerId,
    mut stream: R,
    events: &mpsc::UnboundedSender<Event>,
    queue: &mpsc::UnboundedSender<Queued>,
) -> io::Result<()> {
    loop {
        let frame = zmtp::read_frame(&mut stream).await?;
        if frame.command {
            // ZMTP 3.1's heartbeat: PING, a time to live of two bytes, a context to give back.
            if let Some(context) = frame
                .body
                .strip_prefix(b"\x04PING")
                .and_then(|b| b.get(2..))
            {
                let bytes = zmtp::command(&[b"\x04PONG", context].concat());
                let _ = queue.send(Queued { bytes, _room: None });
            }
            continue;
        }
        let event = match frame.body.split_first() {
            Some((1, topic)) => Event::Subscribed(id, topic.to_owned()),
            Some((0, topic)) => Event::Unsubscribed(id, topic.to_owned()),
            _ => continue,
        };
        let _ = events.send(event);
    }
}

/// Writes what is queued, until an empty message or the end of the connection.
async fn write<W: AsyncWrite + Unpin>(
    stream: W,
    mut queue: mpsc::UnboundedReceiver<Queued>,
) -> io::Result<()> {
    let mut stream = BufWriter::with_capacity(64 * 1024, stream);
    while let Some(next) = queue.recv().await {
        let mut next = Some(next);
        // What has piled up goes out in one flush.
        while let Some(queued) = next {
            if queued.bytes.is_empty() {
                return stream.shutdown().await;
            }
            stream.write_all(&queued.bytes).await?;
            next = queue.try_recv().ok();
        }
        stream.flush().await?;
    }
    stream.shutdown().await
}
