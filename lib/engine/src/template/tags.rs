//! The `{% generation %}` tag, by which templates mark what the assistant wrote. transformers' extension
//! makes it a call block; so does this, by a spelling of the same length, so that the places in errors
//! stay true.

/// What the tag calls: one letter of three bytes, which no template's variable is named.
pub const FUNCTION: &str = "生";

/// The template with each generation tag as a call.
pub fn as_calls(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    let mut is_raw = false;
    while let Some(start) = rest.find(['{']) {
        let (before, tag) = rest.split_at(start);
        out.push_str(before);
        let length = match tag.as_bytes().get(1) {
            Some(b'%') => length(tag, "%}"),
            Some(b'#') if !is_raw => tag.find("#}").map(|end| end + 2),
            Some(b'{') if !is_raw => length(tag, "}}"),
            _ => Some(1),
        };
        let (tag, after) = tag.split_at(length.unwrap_or(tag.len()));
        match name(tag) {
            Some("raw") => is_raw = true,
            Some("endraw") => is_raw = false,
            Some("generation") if !is_raw => {
                out.push_str(&tag.replacen("generation", &format!("call {FUNCTION}()"), 1));
                rest = after;
                continue;
            }
            Some("endgeneration") if !is_raw => {
                out.push_str(&tag.replacen("endgeneration", "endcall      ", 1));
                rest = after;
                continue;
            }
            _ => {}
        }
        out.push_str(tag);
        rest = after;
    }
    out.push_str(rest);
    out
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
