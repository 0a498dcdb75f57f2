//! The shell channel. It is read while a cell runs: cells wait in the queue of the execution thread,
//! what helps while typing has a thread too, everything else is answered at once by a task of its own.

use std::sync::Arc;

use jupyter_protocol::messaging::{
    CodeMirrorMode, CommClose, CommId, CommMsg, CommOpen, HelpLink, IsCompleteReply,
    JupyterMessageContent, KernelInfoReply, LanguageInfo, ReplyStatus,
};
use jupyter_zmq_client::RouterRecvConnection;
use tokio::sync::mpsc;
use tokio::task::block_in_place;

use super::control;
use crate::PROTOCOL_VERSION;
use crate::assistance::{Assistance, Question};
use crate::comm::Comm;
use crate::kernel::ExitReason;
use crate::language::{Afterwards, Completeness, KernelInfo};
use crate::message::{self, Parent, Replies, json_content};
use crate::publisher::Publisher;
use crate::queue::Work;
use crate::session::Session;

/// Reads requests until the task is ended.
pub(crate) async fn run(
    session: Arc<Session>,
    mut receiver: RouterRecvConnection,
    assistance: Assistance,
    exit: mpsc::UnboundedSender<ExitReason>,
) {
    let (immediate, mut requests) = mpsc::unbounded_channel::<Parent>();
    let answering = Arc::clone(&session);
    tokio::spawn(async move {
        while let Some(request) = requests.recv().await {
            if control::is_control(&request) {
                control::answer(&answering, &answering.shell, &request, &exit).await;
            } else {
                answer(&answering, &answering.shell, &request).await;
            }
        }
    });
    loop {
        let request = message::receive(&mut receiver).await;
        match &request.content {
            JupyterMessageContent::ExecuteRequest(execute) => {
                session
                    .queue
                    .push(Work::Execute(Arc::clone(&request), execute.clone()));
            }
            JupyterMessageContent::CompleteRequest(complete) => {
                let question = Question::Complete(complete.clone());
                assistance.ask(&session, &request, question);
            }
            JupyterMessageContent::InspectRequest(inspect) => {
                let question = Question::Inspect(inspect.clone());
                assistance.ask(&session, &request, question);
            }
            _ => {
                let _ = immediate.send(request);
            }
        }
    }
}

/// Answers a request that does not need the execution thread.
pub(crate) async fn answer(session: &Arc<Session>, replies: &Replies, request: &Parent) {
    session.iopub.busy(request);
    let mut afterwards = Afterwards::Nothing;
    // The language may take a moment, and history reads a file.
    let reply = block_in_place(|| match &request.content {
        JupyterMessageContent::CommMsg(msg) => {
            afterwards = comm_msg(session, msg, request);
            None
        }
        _ => content_of_reply(session, request),
    });
    if let Some(reply) = reply {
        replies.send(reply, request).await;
    }
    session.iopub.idle(request);
    // Not before: what it publishes has this message as its parent, and is busy again.
    if afterwards == Afterwards::Attend {
        session.queue.push(Work::Attend(Arc::clone(request)));
    }
}

fn content_of_reply(session: &Arc<Session>, request: &Parent) -> Option<JupyterMessageContent> {
    match &request.content {
        JupyterMessageContent::KernelInfoRequest(_) => {
            Some(kernel_info(session.control.info()).into())
        }
        JupyterMessageContent::IsCompleteRequest(is_complete) => {
            Some(completeness(session.control.is_complete(&is_complete.code)).into())
        }
        JupyterMessageContent::HistoryRequest(history) => Some(json_content(
            "history_reply",
            session.history.answer(history),
        )),
        JupyterMessageContent::CommInfoRequest(info) => {
            let target = info.target_name.as_deref();
            session.control.comms_listed(target);
            let content = session.comms.info(target);
            Some(json_content("comm_info_reply", content))
        }
        JupyterMessageContent::UnknownMessage(unknown) if unknown.msg_type == "connect_request" => {
            Some(json_content("connect_reply", session.ports.clone()))
        }
        JupyterMessageContent::CommOpen(open) => {
            comm_open(session, open, request);
            None
        }
        JupyterMessageContent::CommClose(close) => {
            let comm = Comm::from_message(&close.comm_id.0, &close.data, request);
            if session.comms.close(&comm.id) {
                session
                    .control
                    .comm_close(&comm, &publisher(session, request));
            }
            None
        }
        _ => {
            tracing::warn!(
                request = request.message_type(),
                "a request that is not known"
            );
            None
        }
    }
}

/// A publisher of what belongs to this request.
fn publisher(session: &Arc<Session>, request: &Parent) -> Publisher {
    Publisher::new(Arc::clone(session), Some(Arc::clone(request)))
}

fn comm_msg(session: &Arc<Session>, msg: &CommMsg, request: &Parent) -> Afterwards {
    let comm = Comm::from_message(&msg.comm_id.0, &msg.data, request);
    if session.comms.is_open(&comm.id) {
        let out = publisher(session, request);
        session.control.comm_msg(&comm, &out)
    } else {
        tracing::debug!(comm = comm.id, "a message for a comm that is not open");
        Afterwards::Nothing
    }
}

fn comm_open(session: &Arc<Session>, open: &CommOpen, request: &Parent) {
    let comm = Comm::from_message(&open.comm_id.0, &open.data, request);
    if session.comms.is_open(&comm.id) {
        tracing::debug!(comm = comm.id, "a comm is opened that is open already");
        return;
    }
    // Open before the language hears of it, which may answer over it at once.
    session.comms.open(&comm.id, &open.target_name);
    let accepted =
        session
            .control
            .comm_open(&comm, &open.target_name, &publisher(session, request));
    if !accepted {
        session.comms.close(&comm.id);
        let close = CommClose {
            comm_id: CommId(comm.id),
            data: serde_json::Map::new(),
        };
        session.iopub.publish_for(close, Some(request));
    }
}

fn kernel_info(info: KernelInfo) -> KernelInfoReply {
    let language = info.language;
    KernelInfoReply {
        status: ReplyStatus::Ok,
        protocol_version: PROTOCOL_VERSION.to_owned(),
        implementation: info.implementation,
        implementation_version: info.implementation_version,
        language_info: LanguageInfo {
            name: language.name,
            version: language.version,
            mimetype: Some(language.mimetype),
            file_extension: Some(language.file_extension),
            pygments_lexer: language.pygments_lexer,
            codemirror_mode: language.codemirror_mode.map(CodeMirrorMode::Simple),
            nbconvert_exporter: None,
        },
        banner: info.banner,
        help_links: info
            .help_links
            .into_iter()
            .map(|(text, url)| HelpLink { text, url })
            .collect(),
        debugger: false,
        error: None,
    }
}

fn completeness(completeness: Completeness) -> IsCompleteReply {
    match completeness {
        Completeness::Complete => IsCompleteReply::complete(),
        Completeness::Incomplete { indent } => IsCompleteReply::incomplete(indent),
        Completeness::Invalid => IsCompleteReply::invalid(),
        Completeness::Unknown => IsCompleteReply::unknown(),
    }
}
