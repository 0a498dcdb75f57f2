//! Messages that are forged, broken or unknown, and files that a kernel must not start from.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use jupyter::{Error, Settings};
use jupyter_protocol::messaging::{ExecuteRequest, JupyterMessage, KernelInfoRequest};
use jupyter_zmq_client::{
    create_client_control_connection, create_client_shell_connection_with_identity,
    peer_identity_for_session,
};
use serde_json::json;
use zeromq::{SocketSend, ZmqMessage};

use crate::echo::EchoControl;
use crate::front_end::FrontEnd;

#[tokio::test]
async fn a_wrong_signature_is_ignored() {
    let mut front_end = FrontEnd::start().await;
    let mut forged = front_end.info.clone();
    forged.key = "another key".to_owned();
    let id = peer_identity_for_session("forger").unwrap();
    let mut shell = create_client_shell_connection_with_identity(&forged, "forger", id)
        .await
        .unwrap();
    let mut control = create_client_control_connection(&forged, "forger")
        .await
        .unwrap();
    for _ in 0..3 {
        shell
            .send(JupyterMessage::new(
                ExecuteRequest::new("print forged".to_owned()),
                None,
            ))
            .await
            .unwrap();
        shell
            .send(JupyterMessage::new(KernelInfoRequest {}, None))
            .await
            .unwrap();
        control
            .send(JupyterMessage::new(KernelInfoRequest {}, None))
            .await
            .unwrap();
    }
    // Neither a status nor a reply for them is left at the end.
    front_end.assert_alive().await;
    front_end.finish().await;
}

#[tokio::test]
async fn broken_messages_end_nothing() {
    let mut front_end = FrontEnd::start().await;
    let delimiter: &[u8] = b"<IDS|MSG>";
    let messages: [&[&[u8]]; 6] = [
        &[b"x"],
        &[delimiter],
        &[delimiter, b"nothex"],
        &[delimiter, b"00", b"{}", b"{}"],
        &[delimiter, b"00", b"{}", b"{}", b"{}", b"{}"],
        &[delimiter, b"", b"\xff", b"", b"", b""],
    ];
    for frames in messages {
        let frames: Vec<bytes::Bytes> = frames.iter().map(|f| f.to_vec().into()).collect();
        for socket in [&mut front_end.shell.socket, &mut front_end.control.socket] {
            socket
                .send(ZmqMessage::try_from(frames.clone()).unwrap())
                .await
                .unwrap();
        }
        front_end
            .stdin
            .socket
            .send(ZmqMessage::try_from(frames).unwrap())
            .await
            .unwrap();
    }
    // Well signed, but not what its type says.
    front_end
        .send_json("execute_request", json!({ "code": 1 }))
        .await;
    front_end.assert_alive().await;
    let (_, reply) = front_end.run("print hello").await;
    assert_eq!(reply["status"], "ok");
    front_end.finish().await;
}

#[tokio::test]
async fn an_unknown_request_is_busy_and_idle_only() {
    let mut front_end = FrontEnd::start().await;
    let id = front_end
        .send_json("made_up_request", json!({ "a": 1 }))
        .await;
    assert_eq!(
        front_end.until_idle(&id).await,
        ["status busy", "status idle"]
    );
    front_end.finish().await;
}

fn start(path: &Path) -> Error {
    let settings = Settings {
        connection_file: path.to_owned(),
        history_file: None,
    };
    let control = Arc::new(EchoControl::default());
    let language = control.language();
    jupyter::run(&settings, control, move |_| Ok(Box::new(language))).unwrap_err()
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_cannot_be_listened_on_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    set_mode(folder.path(), 0o700);
    let path = folder.path().join("connection.json");
    assert!(matches!(start(&path), Error::ConnectionFile { .. }));

    std::fs::write(&path, "{}").unwrap();
    assert!(matches!(start(&path), Error::ConnectionFormat { .. }));

    let mut info = json!({
        "ip": "0.0.0.0", "transport": "tcp", "key": "k", "signature_scheme": "hmac-sha256",
        "shell_port": 1, "iopub_port": 1, "stdin_port": 1, "control_port": 1, "hb_port": 1,
    });
    std::fs::write(&path, info.to_string()).unwrap();
    let error = start(&path);
    assert!(matches!(error, Error::RemoteAddress(_)));
    assert!(error.to_string().contains("0.0.0.0") && error.to_string().contains("hint:"));

    info["ip"] = "127.0.0.1".into();
    info["key"] = "".into();
    std::fs::write(&path, info.to_string()).unwrap();
    assert!(matches!(start(&path), Error::NoKey(_)));

    info["key"] = "k".into();
    info["signature_scheme"] = "hmac-md5".into();
    std::fs::write(&path, info.to_string()).unwrap();
    assert!(matches!(start(&path), Error::SignatureScheme(_)));
}

/// The key in a file that others can read is theirs to run code with.
#[test]
fn a_connection_file_that_others_can_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("connection.json");
    let info = json!({
        "ip": "127.0.0.1", "transport": "tcp", "key": "k", "signature_scheme": "hmac-md5",
        "shell_port": 1, "iopub_port": 1, "stdin_port": 1, "control_port": 1, "hb_port": 1,
    });
    std::fs::write(&path, info.to_string()).unwrap();
    set_mode(&path, 0o644);
    set_mode(folder.path(), 0o700);
    // Where nobody else can enter, it may have any mode; the signature is what is refused then.
    assert!(matches!(start(&path), Error::SignatureScheme(_)));
    set_mode(folder.path(), 0o755);
    let error = start(&path);
    assert!(matches!(error, Error::OpenConnectionFile(_)), "{error}");
    assert!(error.to_string().contains("hint: chmod 600"), "{error}");
    set_mode(&path, 0o600);
    assert!(matches!(start(&path), Error::SignatureScheme(_)));
}
