//! The heartbeat channel: what comes in goes out again.

use std::time::Duration;

use tokio::time::sleep;
use zeromq::{RepSocket, SocketRecv, SocketSend};

/// Echoes until the task is ended. (`jupyter-zmq-client`'s heartbeat answers `pong` instead.)
pub(crate) async fn run(mut socket: RepSocket) {
    loop {
        let echoed = match socket.recv().await {
            Ok(message) => socket.send(message).await,
            Err(error) => Err(error),
        };
        if let Err(error) = echoed {
            tracing::debug!(%error, "heartbeat");
            // A failure that lasts must not become a busy loop.
            sleep(Duration::from_millis(10)).await;
        }
    }
}
