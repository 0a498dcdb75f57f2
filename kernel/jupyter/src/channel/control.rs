//! The control channel: interrupt and shutdown, which do not wait for anything. A few clients send
//! these, and `kernel_info_request`, over the other one of shell and control: both know them.

use std::sync::Arc;
use std::time::Duration;

use jupyter_protocol::messaging::{
    InterruptReply, JupyterMessageContent, ReplyStatus, ShutdownReply,
};
use jupyter_zmq_client::KernelControlConnection;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::shell;
use crate::kernel::ExitReason;
use crate::message::{self, Parent, Replies};
use crate::session::Session;

/// How long the language may take to note an interrupt before the cell's question is answered.
const TAKES_NOTE: Duration = Duration::from_millis(100);

/// Answers requests until the task is ended. `exit` is told when one of them ends the kernel.
pub(crate) async fn run(
    session: Arc<Session>,
    connection: KernelControlConnection,
    exit: mpsc::UnboundedSender<ExitReason>,
) {
    let (sender, mut receiver) = connection.split();
    let replies = Replies::new(sender);
    loop {
        let request = message::receive(&mut receiver).await;
        if is_control(&request) {
            answer(&session, &replies, &request, &exit).await;
        } else {
            shell::answer(&session, &replies, &request).await;
        }
    }
}

/// Whether [`answer`] knows this request.
pub(crate) fn is_control(request: &Parent) -> bool {
    matches!(
        request.content,
        JupyterMessageContent::InterruptRequest(_) | JupyterMessageContent::ShutdownRequest(_)
    )
}

/// Answers an interrupt or a shutdown, whichever channel it came over.
pub(crate) async fn answer(
    session: &Arc<Session>,
    replies: &Replies,
    request: &Parent,
    exit: &mpsc::UnboundedSender<ExitReason>,
) {
    session.iopub.busy(request);
    match &request.content {
        JupyterMessageContent::InterruptRequest(_) => {
            interrupt(session).await;
            replies.send(InterruptReply::default(), request).await;
            session.iopub.idle(request);
        }
        JupyterMessageContent::ShutdownRequest(shutdown) => {
            let restart = shutdown.restart;
            end(session, restart).await;
            let reply = ShutdownReply {
                restart,
                status: ReplyStatus::Ok,
                error: None,
            };
            replies.send(reply, request).await;
            session.iopub.idle(request);
            let _ = exit.send(ExitReason::Shutdown { restart });
        }
        _ => session.iopub.idle(request),
    }
}

/// Interrupts the running cell, and aborts those that wait.
pub(crate) async fn interrupt(session: &Arc<Session>) {
    let control = Arc::clone(&session.control);
    let mut interrupted = tokio::task::spawn_blocking(move || control.interrupt());
    // The language first: a cell that waits for input ends as soon as there is none, and must be known
    // as interrupted by then. A language that waits for the cell is not waited for.
    let done = timeout(TAKES_NOTE, &mut interrupted).await;
    session.stdin.interrupt();
    session.abort_queued().await;
    let done = match done {
        Ok(done) => done,
        Err(_) => interrupted.await,
    };
    if done.is_err() {
        tracing::error!("the language panicked when it was interrupted");
    }
}

/// Ends the running cell and the language.
pub(crate) async fn end(session: &Arc<Session>, restart: bool) {
    session.queue.close();
    session.stdin.interrupt();
    let control = Arc::clone(&session.control);
    let ended = tokio::task::spawn_blocking(move || control.shutdown(restart));
    session.abort_queued().await;
    if ended.await.is_err() {
        tracing::error!("the language panicked when it was shut down");
    }
}
