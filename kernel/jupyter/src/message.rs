//! Messages on their way in and out: signature checked, content parsed, headers as the protocol
//! wants them. Which message follows which is decided elsewhere.
//!
//! Two departures from `jupyter-protocol`'s types. Requests get defaults for the fields that
//! clients leave out (its history request has none). And what carries a MIME bundle is sent as the
//! JSON it is: its `Media` would parse each content, and fail on one that is not as it expects.

use std::sync::Arc;
use std::time::Duration;

use jupyter_protocol::messaging::{JupyterMessage, JupyterMessageContent, UnknownMessage};
use jupyter_zmq_client::{Connection, RawMessage, RouterSendConnection, RuntimeError};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use zeromq::SocketRecv;

use crate::PROTOCOL_VERSION;

/// The message that another one answers or belongs to.
pub(crate) type Parent = Arc<JupyterMessage>;

/// How long a reply waits for a client that does not read.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);

/// Waits for the next message that is signed and well formed. Others are logged and forgotten.
pub(crate) async fn receive<S: SocketRecv>(connection: &mut Connection<S>) -> Parent {
    loop {
        let multipart = match connection.socket.recv().await {
            Ok(multipart) => multipart,
            Err(error) => {
                tracing::warn!(%error, "cannot read from a socket");
                // A failure that lasts must not become a busy loop.
                sleep(Duration::from_millis(10)).await;
                continue;
            }
        };
        match RawMessage::from_multipart(multipart, &connection.mac).and_then(parse) {
            Ok(message) => return Arc::new(message),
            Err(error) => tracing::warn!(%error, "ignored a message"),
        }
    }
}

fn parse(raw: RawMessage) -> Result<JupyterMessage, RuntimeError> {
    let header: jupyter_protocol::Header = serde_json::from_slice(&raw.jparts[0])?;
    let mut content: Value = serde_json::from_slice(&raw.jparts[3])?;
    fill_defaults(&header.msg_type, &mut content);
    let content = JupyterMessageContent::from_type_and_content(&header.msg_type, content).map_err(
        |source| RuntimeError::ParseError {
            msg_type: header.msg_type.clone(),
            source,
        },
    )?;
    Ok(JupyterMessage {
        zmq_identities: raw.zmq_identities,
        header,
        // `{}`, the absence of a parent, is not a header.
        parent_header: serde_json::from_slice(&raw.jparts[1]).ok(),
        metadata: serde_json::from_slice(&raw.jparts[2])?,
        content,
        buffers: raw.jparts[4..].to_vec(),
        channel: None,
    })
}

/// Puts in what the protocol, or `ipykernel`, assumes where a request leaves a field out or null.
fn fill_defaults(msg_type: &str, content: &mut Value) {
    let defaults = match msg_type {
        "execute_request" => json!({
            "silent": false, "store_history": true, "user_expressions": {},
            "allow_stdin": false, "stop_on_error": true,
        }),
        "history_request" => history_defaults(content),
        "complete_request" | "inspect_request" => return fill_cursor(content),
        "shutdown_request" => json!({ "restart": false }),
        "comm_open" | "comm_msg" | "comm_close" => json!({ "data": {} }),
        _ => return,
    };
    let (Value::Object(defaults), Value::Object(content)) = (defaults, content) else {
        return;
    };
    for (name, default) in defaults {
        let value = content.entry(name).or_insert(Value::Null);
        if value.is_null() {
            *value = default;
        }
    }
}

/// A cursor that is no position, as -1 is none, stands at the end of the code, as in `ipykernel` one that is
/// left out.
fn fill_cursor(content: &mut Value) {
    let is_position = content["cursor_pos"].is_u64();
    if let Value::Object(fields) = content
        && !is_position
    {
        let code = fields.get("code").and_then(Value::as_str);
        let end = code.map_or(0, |code| code.chars().count());
        fields.insert("cursor_pos".to_owned(), end.into());
    }
}

fn history_defaults(content: &Value) -> Value {
    // A search without `n` is for all that match; a tail without is for a screenful.
    let n = if content["hist_access_type"] == "search" {
        i32::MAX
    } else {
        10
    };
    json!({
        "hist_access_type": "tail", "output": false, "raw": true, "unique": false,
        "session": 0, "start": 0, "stop": i32::MAX, "n": n, "pattern": "*",
    })
}

/// A message of the kernel.
pub(crate) fn child(
    content: impl Into<JupyterMessageContent>,
    parent: Option<&JupyterMessage>,
) -> JupyterMessage {
    let mut message = JupyterMessage::new(content, parent);
    // Otherwise "5.3" and "runtimelib".
    PROTOCOL_VERSION.clone_into(&mut message.header.version);
    "kernel".clone_into(&mut message.header.username);
    // jupyter_client reads dates of microseconds, and leaves those of nanoseconds as text.
    let nanoseconds = message.header.date.timestamp_subsec_nanos() % 1000;
    message.header.date -= Duration::from_nanos(nanoseconds.into());
    message
}

/// Content that is sent as the JSON it is.
pub(crate) fn json_content(msg_type: &str, content: Value) -> JupyterMessageContent {
    UnknownMessage {
        msg_type: msg_type.to_owned(),
        content,
    }
    .into()
}

/// Sends messages to the client that asked, from any task.
pub(crate) struct Replies {
    connection: RouterSendConnection,
}

impl Replies {
    pub(crate) fn new(connection: RouterSendConnection) -> Self {
        Self { connection }
    }

    /// Sends content to who sent `parent`. That the client is gone, or does not read, is logged.
    pub(crate) async fn send(&self, content: impl Into<JupyterMessageContent>, parent: &Parent) {
        if let Err(error) = self.try_send(child(content, Some(parent))).await {
            tracing::warn!(%error, request = parent.message_type(), "cannot answer");
        }
    }

    /// Sends a message to the client that its identities name.
    pub(crate) async fn try_send(&self, message: JupyterMessage) -> Result<(), RuntimeError> {
        let mut connection = Connection {
            socket: self.connection.socket.clone(),
            mac: self.connection.mac.clone(),
            session_id: self.connection.session_id.clone(),
        };
        let sent = timeout(REPLY_TIMEOUT, connection.send(message)).await;
        sent.unwrap_or_else(|_| {
            Err(RuntimeError::ZmqMessageError(
                "the client does not read".to_owned(),
            ))
        })
    }
}
