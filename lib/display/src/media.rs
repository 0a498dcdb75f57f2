//! Values that are nothing but a rendering: HTML, Markdown, pictures, sound, charts, JSON.

use std::path::Path;

use serde::Serialize;
use serde_json::{Value, json};
use wire::mime::Bundle;

use crate::{RichDisplay, base64, html};

/// Why a picture or a sound could not be made.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// The file could not be read.
    #[error("cannot read `{path}`: {source}")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The bytes are not of a known format.
    #[error("these {length} bytes are no {expected}")]
    Format {
        /// How many they are.
        length: usize,
        /// What they should be.
        expected: &'static str,
    },
    /// The text is no JSON.
    #[error("this text is no JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The value is JSON, and no chart.
    #[error(
        "a chart is described by an object, as in `json!({{\"mark\": \"bar\"}})`, and this is {0}"
    )]
    NoChart(&'static str),
}

/// HTML as it is. Nothing is escaped.
#[derive(Clone, Debug, Serialize)]
pub struct Html<T>(pub T);

impl<T: AsRef<str>> RichDisplay for Html<T> {
    fn bundle(&self) -> Bundle {
        Bundle::text(strip_tags(self.0.as_ref())).with("text/html", self.0.as_ref())
    }
}

/// What a terminal shows of HTML. Good enough to read, never meant to be safe as HTML.
fn strip_tags(html: &str) -> String {
    let mut text = String::new();
    let mut is_tag = false;
    for character in html.chars() {
        match character {
            '<' => is_tag = true,
            '>' if is_tag => is_tag = false,
            _ if !is_tag => text.push(character),
            _ => {}
        }
    }
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&amp;", "&")
}

/// Markdown.
#[derive(Clone, Debug, Serialize)]
pub struct Markdown<T>(pub T);

impl<T: AsRef<str>> RichDisplay for Markdown<T> {
    fn bundle(&self) -> Bundle {
        Bundle::text(self.0.as_ref()).with("text/markdown", self.0.as_ref())
    }
}

/// A PNG or JPEG picture.
#[derive(Clone, Debug, Serialize)]
pub struct Image {
    #[serde(skip)]
    bytes: Vec<u8>,
    mime: &'static str,
    alt: String,
    width: Option<u32>,
}

impl Image {
    /// A picture from the bytes of a PNG or JPEG file.
    ///
    /// # Errors
    /// The bytes are neither.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, MediaError> {
        let bytes = bytes.into();
        let mime = match &bytes[..] {
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => "image/png",
            [0xff, 0xd8, 0xff, ..] => "image/jpeg",
            _ => {
                return Err(MediaError::Format {
                    length: bytes.len(),
                    expected: "PNG or JPEG picture",
                });
            }
        };
        Ok(Self {
            bytes,
            mime,
            alt: "picture".to_owned(),
            width: None,
        })
    }

    /// A picture from a PNG or JPEG file.
    ///
    /// # Errors
    /// The file cannot be read, or is neither.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, MediaError> {
        Self::new(read(path.as_ref())?)
    }

    /// What the picture shows, for readers who do not see it.
    #[must_use]
    pub fn alt(mut self, alt: impl Into<String>) -> Self {
        self.alt = alt.into();
        self
    }

    /// Width on the page, in CSS pixels.
    #[must_use]
    pub fn width(mut self, pixels: u32) -> Self {
        self.width = Some(pixels);
        self
    }
}

impl RichDisplay for Image {
    fn bundle(&self) -> Bundle {
        let mut bundle = Bundle::text(format!("[{}: {}]", self.mime, self.alt))
            .with(self.mime, base64::encode(&self.bytes));
        let mut metadata = json!({ "alt": self.alt });
        if let Some(width) = self.width {
            metadata["width"] = width.into();
        }
        bundle.metadata.insert(self.mime.to_owned(), metadata);
        bundle
    }
}

/// A sound, with controls to play it.
#[derive(Clone, Debug, Serialize)]
pub struct Audio {
    #[serde(skip)]
    wav: Vec<u8>,
}

impl Audio {
    /// A sound from the bytes of a WAV file.
    ///
    /// # Errors
    /// The bytes are none.
    pub fn new(wav: impl Into<Vec<u8>>) -> Result<Self, MediaError> {
        let wav = wav.into();
        if !(wav.starts_with(b"RIFF") && wav.get(8..12) == Some(b"WAVE")) {
            return Err(MediaError::Format {
                length: wav.len(),
                expected: "WAV file",
            });
        }
        Ok(Self { wav })
    }

    /// A sound from a WAV file.
    ///
    /// # Errors
    /// The file cannot be read, or is none.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, MediaError> {
        Self::new(read(path.as_ref())?)
    }

    /// A sound of one channel from samples in [-1, 1], at this many a second. Written with 16 bits.
    pub fn from_samples(samples: &[f32], rate: u32) -> Self {
        let length = (samples.len() * 2) as u32;
        let mut wav = Vec::with_capacity(44 + samples.len() * 2);
        wav.extend_from_slice(b"RIFF");
        wav.extend_from_slice(&(36 + length).to_le_bytes());
        wav.extend_from_slice(b"WAVEfmt ");
        wav.extend_from_slice(&16u32.to_le_bytes());
        // Format 1 is PCM; one channel.
        wav.extend_from_slice(&[1, 0, 1, 0]);
        wav.extend_from_slice(&rate.to_le_bytes());
        wav.extend_from_slice(&rate.saturating_mul(2).to_le_bytes());
        // Two bytes a frame, 16 bits a sample.
        wav.extend_from_slice(&[2, 0, 16, 0]);
        wav.extend_from_slice(b"data");
        wav.extend_from_slice(&length.to_le_bytes());
        for sample in samples {
            let value = (sample.clamp(-1.0, 1.0) * f32::from(i16::MAX)).round() as i16;
            wav.extend_from_slice(&value.to_le_bytes());
        }
        Self { wav }
    }
}

impl RichDisplay for Audio {
    fn bundle(&self) -> Bundle {
        let source = base64::encode(&self.wav);
        Bundle::text(format!("[audio/wav: {} bytes]", self.wav.len())).with(
            "text/html",
            format!("<audio controls src=\"data:audio/wav;base64,{source}\"></audio>"),
        )
    }
}

/// A Vega-Lite v5 chart: of a value, as `json!` makes it, or of a text by [`Vega::parse`].
#[derive(Clone, Debug, Serialize)]
pub struct Vega(pub Value);

impl Vega {
    /// A chart from its description as text.
    ///
    /// # Errors
    /// The text is no JSON, or describes no chart.
    pub fn parse(text: &str) -> Result<Self, MediaError> {
        let chart = Self(serde_json::from_str(text)?);
        chart.description().map(drop)?;
        Ok(chart)
    }

    /// A front end takes a text for an address, and asks there for a chart.
    fn description(&self) -> Result<&Value, MediaError> {
        let kind = match &self.0 {
            Value::Object(_) => return Ok(&self.0),
            Value::String(_) => "a text, which `Vega::parse(text)?` reads",
            Value::Array(_) => "a list",
            Value::Number(_) => "a number",
            Value::Bool(_) => "true or false",
            Value::Null => "nothing",
        };
        Err(MediaError::NoChart(kind))
    }
}

impl RichDisplay for Vega {
    fn bundle(&self) -> Bundle {
        let description = match self.description() {
            Ok(description) => description,
            Err(error) => return Bundle::text(format!("no chart: {error}")),
        };
        let title = match &description["title"] {
            Value::String(title) => title.as_str(),
            _ => "a chart",
        };
        Bundle::text(format!("[Vega-Lite: {title}]"))
            .with("application/vnd.vegalite.v5+json", description.clone())
    }
}

/// A JSON value, as a tree that folds: one that `json!` makes, or a text's by [`Json::parse`].
#[derive(Clone, Debug, Serialize)]
pub struct Json(pub Value);

impl Json {
    /// The value that a text has.
    ///
    /// # Errors
    /// The text is no JSON.
    pub fn parse(text: &str) -> Result<Self, MediaError> {
        Ok(Self(serde_json::from_str(text)?))
    }
}

impl RichDisplay for Json {
    fn bundle(&self) -> Bundle {
        let pretty = format!("{:#}", self.0);
        // JupyterLab's tree takes objects and lists only.
        let bundle = Bundle::text(pretty.clone());
        if self.0.is_object() || self.0.is_array() {
            return bundle.with("application/json", self.0.clone());
        }
        bundle.with("text/html", html::pre(&pretty))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, MediaError> {
    std::fs::read(path).map_err(|source| MediaError::Read {
        path: path.display().to_string(),
        source,
    })
}
