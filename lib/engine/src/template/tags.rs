//! What of a template is spelled otherwise for minijinja. `{% generation %}`, by which templates mark what
//! the assistant wrote, is a call block in transformers' extension; so it is here. `{% raw %}` keeps the
//! line break behind it, and texts have the escapes of Python. Where a spelling has another length, the
//! places in errors are counted back.

/// What the tag calls: a letter that no template's variable is named.
pub const FUNCTION: &str = "生";

/// Whether a template marks what the assistant writes.
pub fn mark_generation(source: &str) -> bool {
    parts(source)
        .iter()
        .any(|part| matches!(part, Part::Generation(_)))
}

/// A template as minijinja is to read it.
#[derive(Default)]
pub struct Spelled {
    /// The text.
    pub text: String,
    /// Places in it from which on it is this much longer than the template.
    shifts: Vec<(usize, isize)>,
}

impl Spelled {
    /// The place in the template of a byte in the text.
    pub fn origin(&self, at: usize) -> usize {
        let before = self.shifts.iter().take_while(|(from, _)| *from <= at);
        let shift: isize = before.map(|(_, by)| by).sum();
        at.saturating_add_signed(-shift)
    }

    /// Writes a part of the template otherwise.
    fn exchange(&mut self, part: &str, spelled: &str) {
        self.text.push_str(spelled);
        let by = spelled.len().cast_signed() - part.len().cast_signed();
        if by != 0 {
            self.shifts.push((self.text.len(), by));
        }
    }
}

/// The template with each generation tag as a call, with each `raw` tag so that the line break behind it
/// stays, which minijinja takes away with the other blocks', and with escapes that minijinja knows.
pub fn respelled(source: &str) -> Spelled {
    let mut out = Spelled::default();
    let mut parts = parts(source).into_iter().peekable();
    while let Some(part) = parts.next() {
        match part {
            Part::Other(text) => out.text.push_str(text),
            Part::Tag(tag) => write_tag(tag, &mut out),
            Part::Generation(tag) => {
                let call = tag.replacen("generation", &format!("call {FUNCTION}()"), 1);
                out.exchange(tag, &call);
            }
            Part::EndGeneration(tag) => {
                out.exchange(tag, &tag.replacen("endgeneration", "endcall", 1));
            }
            Part::Raw(tag) => {
                let line_follows =
                    matches!(parts.peek(), Some(Part::Other(text)) if text.starts_with('\n'));
                match tag.strip_suffix("%}") {
                    Some(inner) if line_follows && !inner.ends_with(['-', '+']) => {
                        out.exchange(tag, &format!("{inner}+%}}"));
                    }
                    _ => out.text.push_str(tag),
                }
            }
        }
    }
    out
}

/// Writes a tag, in whose texts are Python's escapes.
fn write_tag(tag: &str, out: &mut Spelled) {
    let mut quote = None;
    let mut rest = tag;
    while let Some(character) = rest.chars().next() {
        let mut length = character.len_utf8();
        match character {
            '\\' if quote.is_some() => {
                let escape = Escape::at(rest);
                out.exchange(&rest[..escape.length], &escape.spelled);
                rest = &rest[escape.length..];
                continue;
            }
            '\'' | '"' if quote.is_none() => quote = Some(character),
            _ if quote == Some(character) => quote = None,
            // What is between is copied at once.
            _ => {
                let next = rest[length..].find(['\\', '\'', '"']);
                length = next.map_or(rest.len(), |at| length + at);
            }
        }
        out.text.push_str(&rest[..length]);
        rest = &rest[length..];
    }
}

/// An escape in a text.
struct Escape {
    /// How long it is in the template.
    length: usize,
    spelled: String,
}

impl Escape {
    /// The one that a text begins with.
    fn at(text: &str) -> Self {
        let second = text[1..].chars().next();
        let length = 1 + second.map_or(0, char::len_utf8);
        let spelled = match second {
            Some('/') => "\\\\/".to_owned(),
            Some('a') => "\\x07".to_owned(),
            Some('v') => "\\x0b".to_owned(),
            Some('U') => {
                let digits = text.get(2..10);
                let code = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
                // Python refuses it, and so does minijinja this.
                let Some(character) = code.and_then(char::from_u32) else {
                    return Self {
                        length: 1,
                        spelled: "\\u".to_owned(),
                    };
                };
                let units = character.encode_utf16(&mut [0; 2]).to_vec();
                let units: Vec<String> =
                    units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
                return Self {
                    length: 10,
                    spelled: units.concat(),
                };
            }
            _ => text[..length].to_owned(),
        };
        Self { length, spelled }
    }
}

/// A stretch of a template.
enum Part<'a> {
    Generation(&'a str),
    EndGeneration(&'a str),
    Raw(&'a str),
    /// Another tag, which is not within a `raw` block.
    Tag(&'a str),
    /// What is no tag.
    Other(&'a str),
}

fn parts(source: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = source;
    let mut is_raw = false;
    while let Some(start) = rest.find('{') {
        let (before, tag) = rest.split_at(start);
        if !before.is_empty() {
            parts.push(Part::Other(before));
        }
        let length = match tag.as_bytes().get(1) {
            Some(b'%') => length(tag, "%}"),
            Some(b'#') if !is_raw => tag.find("#}").map(|end| end + 2),
            Some(b'{') if !is_raw => length(tag, "}}"),
            _ => Some(1),
        };
        let (tag, after) = tag.split_at(length.unwrap_or(tag.len()));
        parts.push(match name(tag) {
            Some("raw") if !is_raw => Part::Raw(tag),
            Some("generation") if !is_raw => Part::Generation(tag),
            Some("endgeneration") if !is_raw => Part::EndGeneration(tag),
            _ if !is_raw && (tag.starts_with("{{") || tag.starts_with("{%")) => Part::Tag(tag),
            _ => Part::Other(tag),
        });
        match name(tag) {
            Some("raw") => is_raw = true,
            Some("endraw") => is_raw = false,
            _ => {}
        }
        rest = after;
    }
    parts.push(Part::Other(rest));
    parts
}

/// The length of a tag up to its end, which does not count inside a string.
fn length(tag: &str, end: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, byte) in tag.bytes().enumerate().skip(2) {
        match quote {
            _ if escaped => escaped = false,
            Some(_) if byte == b'\\' => escaped = true,
            Some(open) if byte == open => quote = None,
            None if tag.as_bytes()[at..].starts_with(end.as_bytes()) => return Some(at + 2),
            None if byte == b'\'' || byte == b'"' => quote = Some(byte),
            Some(_) | None => {}
        }
    }
    None
}

/// What a tag is called, if it is nothing but a name.
fn name(tag: &str) -> Option<&str> {
    let inner = tag.strip_prefix("{%")?.strip_suffix("%}")?;
    Some(inner.trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+'))
}
