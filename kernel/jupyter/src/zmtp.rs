//! The few pieces of the `ZeroMQ` transport protocol that a publishing socket needs: greeting, the
//! NULL mechanism's READY, frames. Version 3.0 (<https://rfc.zeromq.org/spec/23/>), which newer peers
//! fall back to. Queues and subscriptions are [`crate::xpub`]'s.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const MORE: u8 = 1;
const LONG: u8 = 2;
const COMMAND: u8 = 4;

/// A subscription or a PING; nothing that a subscriber sends is longer.
const MAX_FRAME: u64 = 64 * 1024;

/// One frame from a peer.
pub(crate) struct Frame {
    /// Whether it is a command and not part of a message.
    pub(crate) command: bool,
    /// Its bytes.
    pub(crate) body: Vec<u8>,
}

/// Greets a peer, as the socket type XPUB, and checks that it is a subscriber.
pub(crate) async fn handshake<S>(stream: &mut S) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut greeting = [0_u8; 64];
    greeting[0] = 0xff;
    greeting[9] = 0x7f;
    greeting[10] = 3;
    greeting[12..16].copy_from_slice(b"NULL");
    stream.write_all(&greeting).await?;

    let mut theirs = [0_u8; 64];
    stream.read_exact(&mut theirs).await?;
    if theirs[0] != 0xff || theirs[10] < 3 || &theirs[12..17] != b"NULL\0" {
        return Err(refused(
            "the greeting is not that of ZMTP 3 without encryption",
        ));
    }

    let mut ready = BytesMut::new();
    ready.put_slice(b"\x05READY\x0bSocket-Type");
    ready.put_u32(4);
    ready.put_slice(b"XPUB");
    stream.write_all(&command(&ready)).await?;

    let frame = read_frame(stream).await?;
    if !frame.command || !frame.body.starts_with(b"\x05READY") {
        return Err(refused("expected READY"));
    }
    let is_subscriber = frame.body.windows(3).any(|bytes| bytes == b"SUB");
    if is_subscriber {
        Ok(())
    } else {
        Err(refused("expected a subscribing socket"))
    }
}

fn refused(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// Reads a frame; an error also when it is longer than any that a subscriber has reason to send.
pub(crate) async fn read_frame<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Frame> {
    let flags = stream.read_u8().await?;
    let length = if flags & LONG == 0 {
        stream.read_u8().await?.into()
    } else {
        stream.read_u64().await?
    };
    if length > MAX_FRAME {
        return Err(refused("the frame is too long for a subscription"));
    }
    let mut body = vec![0; usize::try_from(length).expect("64 KiB fit")];
    stream.read_exact(&mut body).await?;
    Ok(Frame {
        command: flags & COMMAND != 0,
        body,
    })
}

/// A message of several frames as it goes over the wire.
pub(crate) fn message(frames: &[Bytes]) -> Bytes {
    let length: usize = frames.iter().map(|frame| frame.len() + 9).sum();
    let mut out = BytesMut::with_capacity(length);
    for (index, frame) in frames.iter().enumerate() {
        let more = if index + 1 < frames.len() { MORE } else { 0 };
        put_frame(&mut out, more, frame);
    }
    out.freeze()
}

/// A command as it goes over the wire.
pub(crate) fn command(body: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    put_frame(&mut out, COMMAND, body);
    out.freeze()
}

fn put_frame(out: &mut BytesMut, flags: u8, body: &[u8]) {
    if let Ok(length) = u8::try_from(body.len()) {
        out.put_u8(flags);
        out.put_u8(length);
    } else {
        out.put_u8(flags | LONG);
        out.put_u64(body.len() as u64);
    }
    out.put_slice(body);
}
