//! The `{% generation %}` tag, by which templates mark what the assistant wrote. It changes no text;
//! minijinja has no such tag, so it is turned into a block that is always taken and keeps the marks
//! that control white space.

/// The template with each generation tag replaced.
pub fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let Some(length) = rest[start..].find("%}") else {
            break;
        };
        let (tag_start, tag_end) = (start + 2, start + length);
        let tag = &rest[tag_start..tag_end];
        out.push_str(&rest[..tag_start]);
        let name = tag.trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+');
        match name {
            "generation" => out.push_str(&tag.replace("generation", "if true")),
            "endgeneration" => out.push_str(&tag.replace("endgeneration", "endif")),
            _ => out.push_str(tag),
        }
        out.push_str("%}");
        rest = &rest[tag_end + 2..];
    }
    out.push_str(rest);
    out
}
