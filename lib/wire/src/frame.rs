//! Framing: each message is a little-endian `u32` length and that many bytes of MessagePack with
//! named fields, so that a field added later is skipped by an older reader. Sans I/O: bytes in,
//! messages out.

use serde::{Serialize, de::DeserializeOwned};

/// The largest message accepted, in bytes. A length beyond it is a broken or hostile peer.
pub const MAX_FRAME: usize = 256 << 20;

const HEADER: usize = 4;

/// Why bytes could not become a message, or a message bytes.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The announced length is larger than [`MAX_FRAME`].
    #[error("a frame of {0} bytes is over the limit of {MAX_FRAME}")]
    TooLarge(usize),
    /// The payload is not the expected message.
    #[error("a frame could not be decoded: {0}")]
    Decode(#[from] rmp_serde::decode::Error),
    /// The message could not be written.
    #[error("a message could not be encoded: {0}")]
    Encode(#[from] rmp_serde::encode::Error),
}

/// Encodes one message with its length in front.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut bytes = vec![0; HEADER];
    rmp_serde::encode::write_named(&mut bytes, message)?;
    let length = bytes.len() - HEADER;
    if length > MAX_FRAME {
        return Err(FrameError::TooLarge(length));
    }
    bytes[..HEADER].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(bytes)
}

/// Collects bytes as they arrive and gives out whole messages.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
    read: usize,
}

impl Decoder {
    /// Adds bytes that were read from the peer.
    pub fn push(&mut self, bytes: &[u8]) {
        // Consumed bytes are dropped here, once a read, rather than once a message.
        self.bytes.drain(..self.read);
        self.read = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole message, or `None` until more bytes arrive.
    ///
    /// # Errors
    /// The stream cannot be followed any further after an error: close the connection.
    #[expect(
        clippy::should_implement_trait,
        reason = "fallible, and each call names the type it expects"
    )]
    pub fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let pending = &self.bytes[self.read..];
        let Some(header) = pending.first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*header) as usize;
        if length > MAX_FRAME {
            return Err(FrameError::TooLarge(length));
        }
        let Some(payload) = pending.get(HEADER..HEADER + length) else {
            return Ok(None);
        };
        let message = rmp_serde::from_slice(payload)?;
        self.read += HEADER + length;
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::{
        host::{ClientMessage, HostMessage, Request},
        hub::HubVariables,
        model::ModelSource,
        tokenize::{DecodeOptions, EncodeOptions, Ids, TextInput, TokenizerCall},
    };

    #[test]
    fn messages_survive_any_split_of_the_stream() {
        let sent = vec![String::new(), "한국어".to_owned(), "x".repeat(70_000)];
        let stream: Vec<u8> = sent
            .iter()
            .flat_map(|m| encode(m).expect("encodes"))
            .collect();
        for step in [1, 3, 4, 5, 1000, stream.len()] {
            let mut decoder = Decoder::default();
            let mut received = Vec::new();
            for chunk in stream.chunks(step) {
                decoder.push(chunk);
                while let Some(message) = decoder.next::<String>().expect("decodes") {
                    received.push(message);
                }
            }
            assert_eq!(received, sent, "split every {step} bytes");
        }
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_it_is_read() {
        let mut decoder = Decoder::default();
        decoder.push(&u32::MAX.to_le_bytes());
        assert!(matches!(
            decoder.next::<String>(),
            Err(FrameError::TooLarge(_))
        ));
    }

    #[test]
    fn a_payload_of_another_type_is_an_error() {
        let mut decoder = Decoder::default();
        decoder.push(&encode(&vec![1, 2, 3]).expect("encodes"));
        assert!(matches!(
            decoder.next::<String>(),
            Err(FrameError::Decode(_))
        ));
    }

    /// The messages of a stream cut by these steps, up to the first error.
    fn decode_all<T: DeserializeOwned>(stream: &[u8], steps: &[usize]) -> Vec<T> {
        let mut decoder = Decoder::default();
        let mut received = Vec::new();
        let mut rest = stream;
        for step in steps.iter().cycle() {
            let (chunk, after) = rest.split_at(rest.len().min((*step).max(1)));
            rest = after;
            decoder.push(chunk);
            loop {
                match decoder.next() {
                    Ok(Some(message)) => received.push(message),
                    Ok(None) => break,
                    Err(_) => return received,
                }
            }
            if rest.is_empty() {
                return received;
            }
        }
        received
    }

    /// What a client may send, with texts and numbers of chance.
    fn requests() -> impl Strategy<Value = ClientMessage> {
        let source = (".{0,20}", any::<bool>()).prop_map(|(repo, local)| ModelSource {
            local_files_only: local,
            ..ModelSource::new(repo)
        });
        let request = prop_oneof![
            source.clone().prop_map(Request::LoadTokenizer),
            (source.clone(), vec(".{0,30}", 0..4), any::<bool>()).prop_map(
                |(source, texts, add_special_tokens)| Request::Tokenize {
                    tokenizer: source.into(),
                    call: TokenizerCall::Encode {
                        inputs: texts.into_iter().map(TextInput::from).collect(),
                        options: EncodeOptions {
                            add_special_tokens,
                            ..EncodeOptions::default()
                        },
                    },
                }
            ),
            (source, vec(vec(any::<u32>(), 0..9), 0..4)).prop_map(|(source, sequences)| {
                Request::Tokenize {
                    tokenizer: source.into(),
                    call: TokenizerCall::Decode {
                        sequences: sequences.into_iter().map(Ids).collect(),
                        options: DecodeOptions::default(),
                    },
                }
            }),
            Just(Request::Status),
        ];
        let hub = prop::option::of("[!-~]{1,20}").prop_map(|value| {
            HubVariables::collect(|name| value.clone().filter(|_| name == "HF_HOME"))
        });
        (any::<u64>(), request, hub).prop_map(|(id, request, hub)| ClientMessage::Request {
            id,
            request,
            hub,
        })
    }

    proptest! {
        #[test]
        fn requests_come_as_they_were_sent(
            sent in vec(requests(), 1..5), steps in vec(1..50_usize, 1..9)
        ) {
            let stream: Vec<u8> = sent.iter().flat_map(|m| encode(m).expect("encodes")).collect();
            prop_assert_eq!(decode_all::<ClientMessage>(&stream, &steps), sent);
        }

        /// Neither end may be brought down by what the other sends.
        #[test]
        fn altered_streams_never_panic(
            sent in vec(requests(), 1..4),
            edits in vec((any::<prop::sample::Index>(), any::<u8>()), 0..10),
            steps in vec(1..50_usize, 1..9)
        ) {
            let mut stream: Vec<u8> =
                sent.iter().flat_map(|m| encode(m).expect("encodes")).collect();
            for (place, byte) in edits {
                let place = place.index(stream.len());
                stream[place] = byte;
            }
            drop(decode_all::<ClientMessage>(&stream, &steps));
            drop(decode_all::<HostMessage>(&stream, &steps));
        }

        #[test]
        fn noise_never_panics(payload in vec(any::<u8>(), 0..200), steps in vec(1..50_usize, 1..5)) {
            let mut stream = (payload.len() as u32).to_le_bytes().to_vec();
            stream.extend(payload);
            drop(decode_all::<ClientMessage>(&stream, &steps));
            drop(decode_all::<HostMessage>(&stream, &steps));
        }
    }

    /// A list that says it has four thousand million items, in a frame of a few bytes.
    #[test]
    fn a_list_that_lies_about_its_length_is_an_error() {
        let payload = [0xdd, 0xff, 0xff, 0xff, 0xff, 1];
        let mut stream = (payload.len() as u32).to_le_bytes().to_vec();
        stream.extend(payload);
        let mut decoder = Decoder::default();
        decoder.push(&stream);
        assert!(decoder.next::<Vec<u64>>().is_err());
    }

    /// A value in a message may be any JSON; its depth must not overflow the reader's stack.
    #[test]
    fn a_deeply_nested_value_is_an_error() {
        let mut payload = vec![0x91; 1 << 20];
        payload.push(0xc0);
        let mut stream = (payload.len() as u32).to_le_bytes().to_vec();
        stream.extend(payload);
        let mut decoder = Decoder::default();
        decoder.push(&stream);
        assert!(decoder.next::<serde_json::Value>().is_err());
    }
}
