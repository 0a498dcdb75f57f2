//! Markdown that a model wrote, as HTML that can do nothing: HTML in it shows as text, images as links,
//! and links lead only to the web and to mail.

use pulldown_cmark::{CowStr, Event, LinkType, Options, Parser, Tag, TagEnd, html};

/// The HTML of a Markdown text, with tables and strike-through as on GitHub.
pub fn markdown(text: &str) -> String {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    let events = Parser::new_ext(text, options).map(harmless);
    let mut rendered = String::with_capacity(text.len() * 5 / 4);
    html::push_html(&mut rendered, events);
    rendered
}

/// The same as a block of a page: its pieces have the room between them that a page's own have.
pub fn block(text: &str) -> String {
    format!(
        "<div class=\"jp-RenderedHTMLCommon\" dir=\"auto\">{}</div>",
        markdown(text.trim())
    )
}

fn harmless(event: Event<'_>) -> Event<'_> {
    match event {
        Event::Html(html) | Event::InlineHtml(html) => Event::Text(html),
        Event::Start(Tag::HtmlBlock) => Event::Start(Tag::Paragraph),
        Event::End(TagEnd::HtmlBlock) => Event::End(TagEnd::Paragraph),
        Event::Start(
            Tag::Link {
                link_type,
                dest_url,
                ..
            }
            | Tag::Image {
                link_type,
                dest_url,
                ..
            },
        ) => Event::Start(Tag::Link {
            link_type: match link_type {
                LinkType::Email => LinkType::Email,
                _ => LinkType::Inline,
            },
            dest_url: safe(dest_url),
            title: CowStr::Borrowed(""),
            id: CowStr::Borrowed(""),
        }),
        Event::End(TagEnd::Image) => Event::End(TagEnd::Link),
        other => other,
    }
}

/// An address as it is, or one that leads nowhere.
fn safe(address: CowStr<'_>) -> CowStr<'_> {
    let starts = |scheme: &str| {
        address
            .get(..scheme.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    // An address of `<name@example.org>` has no scheme yet.
    let is_mail = address.contains('@') && !address.contains([':', '/']);
    if ["https://", "http://", "mailto:"].into_iter().any(starts) || is_mail {
        address
    } else {
        CowStr::Borrowed("#")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_models_write_is_rendered() {
        let text =
            "# A\n\n- one\n- **two**\n\n```rust\nlet x = 1 < 2;\n```\n\n|a|b|\n|-|-|\n|1|2|\n";
        let html = markdown(text);
        for part in [
            "<h1>A</h1>",
            "<li>one</li>",
            "<strong>two</strong>",
            "<pre><code class=\"language-rust\">let x = 1 &lt; 2;",
            "<td>1</td>",
        ] {
            assert!(html.contains(part), "{part} in {html}");
        }
    }

    #[test]
    fn nothing_of_it_acts() {
        let text = "<script>alert(1)</script>\n\na <img src=x onerror=alert(1)> b\n\n\
            [go](javascript:alert(1)) ![pic](https://e.org/p.png \"t\" ) [j](JaVaScRiPt:x) [d](data:text/html,x)";
        let html = markdown(text);
        assert!(
            !html.contains("<script") && !html.contains("<img"),
            "{html}"
        );
        assert!(!html.to_lowercase().contains("href=\"javascript"), "{html}");
        assert!(!html.contains("href=\"data"), "{html}");
        assert!(
            html.contains("&lt;script&gt;alert(1)&lt;/script&gt;"),
            "{html}"
        );
        assert!(
            html.contains("<a href=\"https://e.org/p.png\">pic</a>"),
            "{html}"
        );
    }
}
