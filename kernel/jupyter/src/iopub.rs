//! The iopub channel: one task through which everything passes that the kernel broadcasts, so
//! that the order in which it is handed over is the order on the wire. Welcomes subscribers, puts
//! streams together, and keeps the status that front ends show right.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use jupyter_protocol::messaging::{
    IoPubWelcome, JupyterMessage, JupyterMessageContent, Status, Stdio, StreamContent,
};
use jupyter_zmq_client::Connection;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::frames::Frames;
use crate::message::{self, Parent};
use crate::xpub::{PeerId, Subscription, Xpub};

/// Text that follows other text within this time is sent together with what else comes in it.
const TICK: Duration = Duration::from_millis(10);

/// More text than this is not put together into one message.
const MAX_STREAM_BYTES: usize = 256 * 1024;

/// How much text may wait for this task before the one who prints waits too.
const MAX_WAITING_BYTES: usize = 4 * 1024 * 1024;

/// How long the first message waits for somebody to send it to. Clients connect all sockets at
/// once, and would lose what is published before their subscription arrives.
const FIRST_SUBSCRIBER: Duration = Duration::from_secs(1);

/// How long the end of the kernel waits for subscribers to read.
const LINGER: Duration = Duration::from_secs(3);

/// Requests whose status front ends do not show (`untracked_message_types` of `jupyter_server`).
const UNTRACKED: [&str; 6] = [
    "comm_info_request",
    "connect_request",
    "debug_request",
    "interrupt_request",
    "kernel_info_request",
    "shutdown_request",
];

/// The way to the task, for any thread. What is sent after the kernel's end is dropped.
#[derive(Clone)]
pub(crate) struct IoPub {
    events: mpsc::UnboundedSender<Event>,
    waiting: Arc<Waiting>,
}

enum Event {
    Busy(Parent),
    BusyWith(Parent),
    Idle(Parent),
    Stream(Printed),
    Publish(Box<JupyterMessage>),
    /// Of the display with this id: its first showing, or an update.
    Display(String, Box<JupyterMessage>),
    Close(oneshot::Sender<()>),
}

struct Printed {
    parent: Option<Parent>,
    name: Stdio,
    text: String,
}

impl IoPub {
    /// Starts the task on an open socket.
    pub(crate) fn start(connection: Connection<Xpub>) -> Self {
        let (events, receiver) = mpsc::unbounded_channel();
        let waiting = Arc::new(Waiting::default());
        let task = Task {
            connection,
            waiting: Arc::clone(&waiting),
            pending: None,
            last_stream: None,
            frames: Frames::default(),
            had_subscriber: false,
            running: None,
        };
        tokio::spawn(task.run(receiver));
        Self { events, waiting }
    }

    /// The kernel starts to work on a request.
    pub(crate) fn busy(&self, parent: &Parent) {
        self.send(Event::Busy(Arc::clone(parent)));
    }

    /// The same, of what takes as long as a cell: it stays so while other requests are answered.
    pub(crate) fn busy_with(&self, parent: &Parent) {
        self.send(Event::BusyWith(Arc::clone(parent)));
    }

    /// The kernel is done with a request.
    pub(crate) fn idle(&self, parent: &Parent) {
        self.send(Event::Idle(Arc::clone(parent)));
    }

    /// Publishes a message.
    pub(crate) fn publish(&self, message: JupyterMessage) {
        self.send(Event::Publish(Box::new(message)));
    }

    /// Publishes content that belongs to `parent`.
    pub(crate) fn publish_for(
        &self,
        content: impl Into<JupyterMessageContent>,
        parent: Option<&Parent>,
    ) {
        self.publish(message::child(content, parent.map(AsRef::as_ref)));
    }

    /// Publishes a display that can be updated, or an update of it, of which the newest counts.
    pub(crate) fn display(&self, id: &str, message: JupyterMessage) {
        self.send(Event::Display(id.to_owned(), Box::new(message)));
    }

    /// Prints. Blocks while much that was printed before still waits.
    pub(crate) fn stream(&self, parent: Option<Parent>, name: Stdio, text: &str) {
        if !text.is_empty() {
            self.waiting.add(text.len());
            self.send(Event::Stream(Printed {
                parent,
                name,
                text: text.to_owned(),
            }));
        }
    }

    /// Waits until everything is written, and ends the task.
    pub(crate) async fn close(&self) {
        let (sender, closed) = oneshot::channel();
        self.send(Event::Close(sender));
        let _ = closed.await;
    }

    fn send(&self, event: Event) {
        let _ = self.events.send(event);
    }
}

struct Task {
    connection: Connection<Xpub>,
    waiting: Arc<Waiting>,
    /// Text that was not sent yet.
    pending: Option<Printed>,
    last_stream: Option<Instant>,
    /// Updates of displays that were not sent yet.
    frames: Frames<JupyterMessage>,
    had_subscriber: bool,
    /// The cell that runs, or what a comm has left to do.
    running: Option<Parent>,
}

impl Task {
    async fn run(mut self, mut events: mpsc::UnboundedReceiver<Event>) {
        self.publish(message::child(Status::starting(), None)).await;
        let close = loop {
            let due = self
                .pending
                .as_ref()
                .and(self.last_stream)
                .map(|last| last + TICK);
            let due = due.unwrap_or_else(Instant::now);
            let frame = self.frames.due();
            tokio::select! {
                biased;
                subscription = self.connection.socket.subscription() => {
                    self.welcome(subscription).await;
                }
                () = sleep_until(due), if self.pending.is_some() => self.flush().await,
                () = sleep_until(frame.unwrap_or(due)), if frame.is_some() => {
                    let frames = self.frames.take_due(Instant::now());
                    self.publish_all(frames).await;
                }
                event = events.recv() => match event {
                    Some(Event::Close(done)) => break Some(done),
                    Some(event) => self.handle(event).await,
                    None => break None,
                },
            }
        };
        self.flush().await;
        let frames = self.frames.take_all();
        self.publish_all(frames).await;
        self.waiting.close();
        self.connection.socket.close(LINGER).await;
        if let Some(done) = close {
            let _ = done.send(());
        }
    }

    async fn handle(&mut self, event: Event) {
        if let Event::Stream(printed) = event {
            return self.stream(printed).await;
        }
        self.flush().await;
        match event {
            Event::Busy(parent) => {
                self.status(Status::busy(), &parent).await;
            }
            Event::BusyWith(parent) => {
                self.running = Some(Arc::clone(&parent));
                self.status(Status::busy(), &parent).await;
            }
            Event::Idle(parent) => self.idle(&parent).await,
            Event::Publish(message) => self.publish(*message).await,
            Event::Display(id, message) => self.display(&id, *message).await,
            Event::Stream(_) | Event::Close(_) => {}
        }
    }

    /// A front end takes the last status it saw for the kernel's. After a request that was
    /// answered while a cell runs, it is told again that the kernel is busy with the cell.
    async fn idle(&mut self, parent: &Parent) {
        // A client that has seen the end of a cell looks for no more of it.
        let frames = self.frames.take_all();
        self.publish_all(frames).await;
        self.status(Status::idle(), parent).await;
        let Some(running) = self.running.clone() else {
            return;
        };
        if Arc::ptr_eq(&running, parent) {
            self.running = None;
        } else if !UNTRACKED.contains(&parent.message_type()) {
            self.status(Status::busy(), &running).await;
        }
    }

    async fn status(&mut self, status: Status, parent: &Parent) {
        self.publish(message::child(status, Some(parent))).await;
    }

    async fn stream(&mut self, printed: Printed) {
        let joins = self
            .pending
            .as_ref()
            .is_some_and(|pending| pending.joins(&printed));
        if joins {
            if let Some(pending) = &mut self.pending {
                pending.text.push_str(&printed.text);
            }
        } else {
            self.flush().await;
            self.pending = Some(printed);
        }
        let size = self
            .pending
            .as_ref()
            .map_or(0, |pending| pending.text.len());
        let quiet = self.last_stream.is_none_or(|last| last.elapsed() >= TICK);
        if quiet || size >= MAX_STREAM_BYTES {
            self.flush().await;
        }
    }

    async fn flush(&mut self) {
        let Some(Printed { parent, name, text }) = self.pending.take() else {
            return;
        };
        self.waiting.remove(text.len());
        self.last_stream = Some(Instant::now());
        let content = StreamContent { name, text };
        self.publish(message::child(content, parent.as_deref()))
            .await;
    }

    async fn publish(&mut self, mut message: JupyterMessage) {
        self.first_subscriber().await;
        // The identities of the parent are those of another socket; here is the topic's place.
        let topic = format!(
            "kernel.{}.{}",
            self.connection.session_id,
            message.message_type()
        );
        message.zmq_identities = vec![topic.into()];
        if let Err(error) = self.connection.send(message).await {
            tracing::warn!(%error, "cannot publish");
        }
    }

    async fn display(&mut self, id: &str, message: JupyterMessage) {
        let now = Instant::now();
        if message.message_type() != "update_display_data" {
            self.frames.forget(id);
            self.publish(message).await;
        } else if let Some(message) = self.frames.offer(id, message, now) {
            self.publish(message).await;
        }
    }

    async fn publish_all(&mut self, messages: Vec<JupyterMessage>) {
        for message in messages {
            self.publish(message).await;
        }
    }

    async fn first_subscriber(&mut self) {
        if self.had_subscriber {
            return;
        }
        self.had_subscriber = true;
        let deadline = Instant::now() + FIRST_SUBSCRIBER;
        while !self.connection.socket.has_subscriber() {
            match timeout_at(deadline, self.connection.socket.subscription()).await {
                Ok(subscription) => self.welcome(subscription).await,
                Err(_) => return tracing::debug!("nobody listens to the first message"),
            }
        }
    }

    async fn welcome(&mut self, Subscription { peer, topic }: Subscription) {
        let topic = String::from_utf8_lossy(&topic).into_owned();
        let mut message = message::child(IoPubWelcome::new(topic.clone()), None);
        message.zmq_identities = vec![topic.into()];
        self.send_to(peer, message).await;
    }

    async fn send_to(&mut self, peer: PeerId, message: JupyterMessage) {
        self.connection.socket.address(Some(peer));
        if let Err(error) = self.connection.send(message).await {
            tracing::warn!(%error, "cannot welcome a subscriber");
        }
        self.connection.socket.address(None);
    }
}

impl Printed {
    /// Whether `next` can go in the same message.
    fn joins(&self, next: &Self) -> bool {
        let same_parent = match (&self.parent, &next.parent) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        };
        let same_name = matches!(
            (&self.name, &next.name),
            (Stdio::Stdout, Stdio::Stdout) | (Stdio::Stderr, Stdio::Stderr)
        );
        same_parent && same_name
    }
}

/// The bytes of text that were handed over and not sent yet.
#[derive(Default)]
struct Waiting {
    state: Mutex<WaitingState>,
    less: Condvar,
}

#[derive(Default)]
struct WaitingState {
    bytes: usize,
    closed: bool,
}

impl Waiting {
    fn add(&self, bytes: usize) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |state: &mut WaitingState| !state.closed && state.bytes >= MAX_WAITING_BYTES;
        let mut state = self
            .less
            .wait_while(state, full)
            .unwrap_or_else(PoisonError::into_inner);
        state.bytes += bytes;
    }

    fn remove(&self, bytes: usize) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.bytes = state.bytes.saturating_sub(bytes);
        drop(state);
        self.less.notify_all();
    }

    fn close(&self) {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .closed = true;
        self.less.notify_all();
    }
}
