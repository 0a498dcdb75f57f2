//! The stdin channel: a cell asks, the user of the front end that runs it answers. One question at
//! a time; an interrupt, the end of the cell and the end of the kernel answer for the user.

use std::sync::mpsc as blocking;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jupyter_protocol::messaging::{InputRequest, JupyterMessage, JupyterMessageContent};
use jupyter_zmq_client::KernelStdinConnection;
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::message::{self, Parent, Replies};
use crate::publisher::InputError;

/// A client connects its sockets in any order: how often, and after which pause, a question is
/// sent again to one whose stdin socket is not there yet.
const ATTEMPTS: usize = 10;
const PAUSE: Duration = Duration::from_millis(100);

/// Where questions are asked.
pub(crate) struct Stdin {
    questions: mpsc::UnboundedSender<JupyterMessage>,
    desk: Arc<Desk>,
    /// Held by who asks.
    turn: Mutex<()>,
}

struct Desk(Mutex<State>);

struct State {
    /// Why nothing can be asked now.
    refusal: Option<InputError>,
    waiting: Option<Waiting>,
}

struct Waiting {
    question: String,
    answer: blocking::Sender<Result<String, InputError>>,
}

impl Stdin {
    /// Starts the channel.
    pub(crate) fn start(connection: KernelStdinConnection) -> Self {
        let (sender, mut receiver) = connection.split();
        let state = State {
            refusal: Some(InputError::NotAllowed),
            waiting: None,
        };
        let desk = Arc::new(Desk(Mutex::new(state)));
        let (questions, mut asked) = mpsc::unbounded_channel::<JupyterMessage>();
        let sending = Arc::clone(&desk);
        tokio::spawn(async move {
            let replies = Replies::new(sender);
            while let Some(question) = asked.recv().await {
                if !send(&replies, &question).await {
                    sending.answer(Some(&question.header.msg_id), Err(InputError::Unreachable));
                }
            }
        });
        let receiving = Arc::clone(&desk);
        tokio::spawn(async move {
            loop {
                let message = message::receive(&mut receiver).await;
                let JupyterMessageContent::InputReply(reply) = &message.content else {
                    continue;
                };
                // jupyter_client sends no parent; others name the question.
                let question = message
                    .parent_header
                    .as_ref()
                    .map(|parent| parent.msg_id.as_str());
                receiving.answer(question, Ok(reply.value.clone()));
            }
        });
        Self {
            questions,
            desk,
            turn: Mutex::new(()),
        }
    }

    /// A cell begins, whose front end can be asked or not.
    pub(crate) fn open(&self, allowed: bool) {
        self.desk.lock().refusal = (!allowed).then_some(InputError::NotAllowed);
    }

    /// The cell has ended.
    pub(crate) fn close(&self) {
        self.desk.refuse(InputError::NotAllowed);
    }

    /// The cell is interrupted: it gets no answer to its question, nor to a later one.
    pub(crate) fn interrupt(&self) {
        self.desk.refuse(InputError::Interrupted);
    }

    /// Asks who sent `parent`, and waits.
    pub(crate) fn ask(
        &self,
        parent: &Parent,
        prompt: &str,
        password: bool,
    ) -> Result<String, InputError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let content = InputRequest {
            prompt: prompt.to_owned(),
            password,
        };
        let question = message::child(content, Some(parent));
        let (answer, answered) = blocking::channel();
        {
            let mut state = self.desk.lock();
            if let Some(refusal) = state.refusal {
                return Err(refusal);
            }
            state.waiting = Some(Waiting {
                question: question.header.msg_id.clone(),
                answer,
            });
        }
        if self.questions.send(question).is_err() {
            return Err(InputError::Interrupted);
        }
        answered.recv().unwrap_or(Err(InputError::Interrupted))
    }
}

/// Whether the question was sent.
async fn send(replies: &Replies, question: &JupyterMessage) -> bool {
    for _ in 0..ATTEMPTS {
        match replies.try_send(question.clone()).await {
            Ok(()) => return true,
            Err(error) => tracing::debug!(%error, "the client's stdin socket is not there"),
        }
        sleep(PAUSE).await;
    }
    false
}

impl Desk {
    /// Gives an answer to the one who waits, if it is for that one's question or for no particular
    /// one. An answer that nobody waits for is a late one, and dropped.
    fn answer(&self, question: Option<&str>, answer: Result<String, InputError>) {
        let mut state = self.lock();
        let for_this = |waiting: &mut Waiting| question.is_none_or(|q| q == waiting.question);
        if let Some(waiting) = state.waiting.take_if(for_this) {
            let _ = waiting.answer.send(answer);
        }
    }

    fn refuse(&self, reason: InputError) {
        let mut state = self.lock();
        state.refusal = Some(reason);
        if let Some(waiting) = state.waiting.take() {
            let _ = waiting.answer.send(Err(reason));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
