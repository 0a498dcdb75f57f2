//! What helps while typing: completion and inspection, on a thread of their own, so that a running
//! cell keeps nobody waiting. A request that others keep waiting for too long is answered with nothing.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use jupyter_protocol::messaging::{CompleteRequest, InspectRequest, JupyterMessageContent};
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::time::sleep;
use wire::mime::Bundle;

use crate::language::Completions;
use crate::message::{Parent, json_content};
use crate::session::Session;
use crate::text::{byte_of, code_point_of};

/// A language's analysis may recurse deeply.
const STACK_BYTES: usize = 16 * 1024 * 1024;

/// How long a question waits for those before it until the answer is that nothing is known. Front ends
/// block on the answer, some for seconds.
const WAIT: Duration = Duration::from_millis(400);

/// What is asked.
#[derive(Clone)]
pub(crate) enum Question {
    /// What could stand at the cursor.
    Complete(CompleteRequest),
    /// What is known about the thing at the cursor.
    Inspect(InspectRequest),
}

struct Asked {
    parent: Parent,
    question: Question,
    claim: Claim,
}

/// The way to the thread.
pub(crate) struct Assistance(Sender<Asked>);

/// Who answers a request: the first to take the claim.
#[derive(Clone, Default)]
struct Claim(Arc<AtomicBool>);

impl Claim {
    /// Whether it is the caller who answers.
    fn take(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }
}

impl Assistance {
    /// Starts the thread, which ends with this.
    pub(crate) fn start(session: &Arc<Session>, runtime: Handle) -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel();
        let session = Arc::clone(session);
        thread::Builder::new()
            .name("assistance".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || serve(&session, &runtime, &receiver))?;
        Ok(Self(sender))
    }

    /// Answers a question, sooner or later.
    pub(crate) fn ask(&self, session: &Arc<Session>, parent: &Parent, question: Question) {
        let claim = Claim::default();
        let late = answer_late(
            Arc::clone(session),
            claim.clone(),
            question.clone(),
            Arc::clone(parent),
        );
        tokio::spawn(late);
        let parent = Arc::clone(parent);
        // Should the thread be gone, the late answer comes all the same.
        let _ = self.0.send(Asked {
            parent,
            question,
            claim,
        });
    }
}

fn serve(session: &Arc<Session>, runtime: &Handle, asked: &Receiver<Asked>) {
    for Asked {
        parent,
        question,
        claim,
    } in asked
    {
        // Else who asked has been told that nothing is known.
        if claim.take() {
            // A fault of the language's analysis must not end the help for good.
            let found = catch_unwind(AssertUnwindSafe(|| answer(session, &question)));
            let reply = found.unwrap_or_else(|_| nothing(&question));
            runtime.block_on(send(session, reply, &parent));
        }
    }
}

async fn answer_late(session: Arc<Session>, claim: Claim, question: Question, parent: Parent) {
    sleep(WAIT).await;
    if claim.take() {
        send(&session, nothing(&question), &parent).await;
    }
}

async fn send(session: &Session, reply: JupyterMessageContent, parent: &Parent) {
    session.iopub.busy(parent);
    session.shell.send(reply, parent).await;
    session.iopub.idle(parent);
}

fn answer(session: &Session, question: &Question) -> JupyterMessageContent {
    match question {
        Question::Complete(request) => {
            let cursor = byte_of(&request.code, request.cursor_pos);
            let completions = session.control.complete(&request.code, cursor);
            complete_reply(&request.code, &completions)
        }
        Question::Inspect(request) => {
            let cursor = byte_of(&request.code, request.cursor_pos);
            let detail = u8::from(request.detail_level.unwrap_or(0) > 0);
            inspect_reply(session.control.inspect(&request.code, cursor, detail))
        }
    }
}

fn nothing(question: &Question) -> JupyterMessageContent {
    match question {
        Question::Complete(request) => {
            let cursor = byte_of(&request.code, request.cursor_pos);
            complete_reply(&request.code, &Completions::none(cursor))
        }
        Question::Inspect(_) => inspect_reply(None),
    }
}

/// The content of a `complete_reply`.
fn complete_reply(code: &str, completions: &Completions) -> JupyterMessageContent {
    let start = code_point_of(code, completions.start);
    let end = code_point_of(code, completions.end);
    let texts: Vec<&str> = completions
        .matches
        .iter()
        .map(|m| m.text.as_str())
        .collect();
    // JupyterLab's extension of the protocol, as ipykernel sends it.
    let types: Vec<Value> = completions
        .matches
        .iter()
        .map(|m| {
            json!({
                "start": start, "end": end, "text": m.text, "type": m.kind.as_deref().unwrap_or(""),
                "signature": m.signature.as_deref().unwrap_or(""),
            })
        })
        .collect();
    let content = json!({
        "status": "ok", "matches": texts, "cursor_start": start, "cursor_end": end,
        "metadata": { "_jupyter_types_experimental": types },
    });
    json_content("complete_reply", content)
}

/// The content of an `inspect_reply`.
fn inspect_reply(found: Option<Bundle>) -> JupyterMessageContent {
    let is_found = found.is_some();
    let Bundle { data, metadata } = found.unwrap_or_default();
    let content = json!({ "status": "ok", "found": is_found, "data": data, "metadata": metadata });
    json_content("inspect_reply", content)
}
