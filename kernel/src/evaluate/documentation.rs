//! What the analyser says of a name, which gives it as HTML made of Markdown: without the lines that
//! rustdoc hides in examples, and as plain text. Its own plain text has headings run into what follows.

use display::html::unescape;

/// Words behind a code block's opening that leave it Rust.
const OF_RUST: [&str; 5] = ["rust", "no_run", "should_panic", "ignore", "compile_fail"];

/// The same without the lines that rustdoc hides in examples of Rust.
pub fn without_hidden_lines(html: &str) -> String {
    let mut blocks = html.split("<pre>");
    let mut shown = blocks.next().unwrap_or_default().to_owned();
    for block in blocks {
        shown.push_str("<pre>");
        let end = block.find("</code></pre>").unwrap_or(block.len());
        let (code, behind) = block.split_at(end);
        match code.split_once('>') {
            Some((tag, lines)) if is_rust(tag) => {
                shown.push_str(tag);
                shown.push('>');
                let lines = lines.split_inclusive('\n');
                shown.extend(lines.filter(|line| !is_hidden(line)));
            }
            _ => shown.push_str(code),
        }
        shown.push_str(behind);
    }
    shown
}

/// Whether `<code class="language-no_run,ignore"` says Rust, as it does without a class.
fn is_rust(tag: &str) -> bool {
    let Some((_, class)) = tag.split_once("class=\"language-") else {
        return true;
    };
    let words = class.trim_end_matches('"');
    words.split(',').all(|word| {
        let word = word.trim();
        OF_RUST.iter().any(|one| word.starts_with(one)) || word.starts_with("edition")
    })
}

fn is_hidden(line: &str) -> bool {
    let line = line.trim();
    line == "#" || line.starts_with("# ")
}

/// As plain text: blocks apart from each other, code as it stands.
pub fn text(html: &str) -> String {
    let mut page = Page::default();
    let mut rest = html;
    while let Some(start) = rest.find('<') {
        page.write(&rest[..start]);
        let Some((tag, behind)) = rest[start + 1..].split_once('>') else {
            break;
        };
        page.tag(tag);
        rest = behind;
    }
    page.write(rest);
    page.text.trim_end().to_owned()
}

#[derive(Default)]
struct Page {
    text: String,
    is_code: bool,
}

impl Page {
    fn write(&mut self, escaped: &str) {
        let written = unescape(escaped);
        if self.is_code {
            self.text.push_str(&written);
            return;
        }
        let written = written.replace('\n', " ");
        let is_begin = self.text.is_empty() || self.text.ends_with(char::is_whitespace);
        let written = if is_begin {
            written.trim_start()
        } else {
            &written
        };
        self.text.push_str(written);
    }

    fn tag(&mut self, tag: &str) {
        let name = tag.split([' ', '/']).find(|part| !part.is_empty());
        let is_end = tag.starts_with('/');
        match name.unwrap_or_default() {
            "pre" => {
                self.is_code = !is_end;
                self.apart("\n\n");
            }
            "li" if !is_end => {
                self.apart("\n");
                self.text.push_str("- ");
            }
            // The text of a list's entry may be a paragraph of its own.
            "p" if self.text.ends_with("\n- ") => {}
            "p" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6" | "hr" | "ul" | "ol" | "table"
            | "blockquote" => self.apart("\n\n"),
            "br" | "tr" => self.apart("\n"),
            "td" | "th" if !is_end => self.text.push(' '),
            _ => {}
        }
    }

    /// What follows stands below.
    fn apart(&mut self, by: &str) {
        let written = self.text.trim_end().len();
        let broken = self.text[written..].matches('\n').count();
        if written > 0 {
            self.text.truncate(written);
            let lines = broken.max(by.len());
            self.text.extend(std::iter::repeat_n('\n', lines.min(2)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It read `ErrorsAs PipelineBuilder::load.` and `Exampleslet mut vec = Vec::new();`.
    #[test]
    fn a_heading_stands_apart_from_what_follows() {
        let html = "<pre><code class=\"language-rust\">pub fn f&lt;T&gt;()\n</code></pre>\n<hr />\n\
                    <p>A &amp; B\nin two lines.</p>\n<h1>Errors</h1>\n<p>As <a href=\"x\"><code>g</code></a>.</p>\n\
                    <h1>Examples</h1>\n<pre><code>let mut vec = Vec::new();\n\nvec.push(1);\n</code></pre>\n\
                    <ul>\n<li>one</li>\n<li>\n<p>two</p>\n</li>\n</ul>\n<p>End.</p>\n";
        assert_eq!(
            text(html),
            "pub fn f<T>()\n\nA & B in two lines.\n\nErrors\n\nAs g.\n\nExamples\n\n\
             let mut vec = Vec::new();\n\nvec.push(1);\n\n- one\n- two\n\nEnd."
        );
    }

    /// They stood in JupyterLab's Shift-Tab.
    #[test]
    fn what_rustdoc_hides_is_hidden_in_examples_of_rust_alone() {
        let html = "<pre><code class=\"language-no_run\"># use a::b;\n#[derive(Debug)]\nstruct A;\n#\n# }\n\
                    </code></pre>\n<p># kept</p>\n<pre><code># gone\nf();\n</code></pre>\n\
                    <pre><code class=\"language-sh\"># a comment\nls\n</code></pre>";
        assert_eq!(
            without_hidden_lines(html),
            "<pre><code class=\"language-no_run\">#[derive(Debug)]\nstruct A;\n\
             </code></pre>\n<p># kept</p>\n<pre><code>f();\n</code></pre>\n\
             <pre><code class=\"language-sh\"># a comment\nls\n</code></pre>"
        );
    }
}
