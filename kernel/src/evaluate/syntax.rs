//! What is wrong with a cell that is no Rust, told of the cell alone. The compiler reads it in the middle of a
//! source of ours, and speaks of what stands behind the cell there. Asked only when the compiler has refused
//! a cell: what it accepts is right, whatever the parser here makes of it.

use std::ops::Range;

use ra_ap_syntax::{AstNode, Edition, NodeOrToken, SourceFile, SyntaxKind, SyntaxToken};

use super::completeness::is_unterminated;

const BEFORE: &str = "fn f(){";
const AFTER: &str = "\n}";

/// A fault of the syntax.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    pub message: String,
    /// Bytes of the cell.
    pub place: Range<usize>,
    pub hint: String,
    /// Lines to copy.
    pub corrected: Vec<String>,
}

/// What is wrong; `None` for what the compiler says better.
pub fn fault(code: &str) -> Option<Fault> {
    let tokens = tokens(code);
    let of_tokens = unterminated(&tokens)
        .or_else(|| single_quotes(code, &tokens))
        .or_else(|| brackets(code, &tokens));
    of_tokens.or_else(|| of_grammar(code, &tokens))
}

/// The tokens of the cell alone: within a function, a missing bracket would take the function's.
fn tokens(code: &str) -> Vec<SyntaxToken> {
    let file = SourceFile::parse(code, Edition::Edition2024).tree();
    let tokens = file.syntax().descendants_with_tokens();
    tokens.filter_map(NodeOrToken::into_token).collect()
}

fn range(token: &SyntaxToken) -> Range<usize> {
    token.text_range().into()
}

fn unterminated(tokens: &[SyntaxToken]) -> Option<Fault> {
    // A console does not wait for the rest of a letter, which has no second line.
    let is_half_letter = |token: &SyntaxToken| {
        let text = token.text();
        token.kind() == SyntaxKind::CHAR && (text.len() < 2 || !text.ends_with('\''))
    };
    let mut tokens = tokens.iter();
    let token = tokens.find(|token| is_unterminated(token) || is_half_letter(token))?;
    let (what, hint) = match token.kind() {
        SyntaxKind::COMMENT => ("comment", "`*/` ends it"),
        SyntaxKind::CHAR => (
            "quote",
            "a text stands in double quotes; single ones are around one letter",
        ),
        _ => ("text", "a text ends with the quote that it begins with"),
    };
    let start = range(token).start;
    Some(Fault {
        message: format!("this {what} never ends"),
        place: start..start + 1,
        hint: hint.to_owned(),
        corrected: Vec::new(),
    })
}

/// A text in quotes as Python has it. The compiler goes on behind it with what it makes of the rest of our source.
fn single_quotes(code: &str, tokens: &[SyntaxToken]) -> Option<Fault> {
    let text = |token: &SyntaxToken| {
        let inner = token.text().strip_prefix('\'')?.strip_suffix('\'')?;
        // Of accents and emoji, which may be several letters to it, the compiler knows more.
        let letters = inner
            .chars()
            .filter(|letter| letter.is_ascii() || letter.is_alphabetic());
        (!inner.starts_with('\\') && letters.count() > 1).then(|| inner.to_owned())
    };
    let mut chars = tokens
        .iter()
        .filter(|token| token.kind() == SyntaxKind::CHAR);
    let (token, inner) = chars.find_map(|token| Some((token, text(token)?)))?;
    let place = range(token);
    let line = Range {
        start: code[..place.start].rfind('\n').map_or(0, |line| line + 1),
        end: code[place.end..]
            .find('\n')
            .map_or(code.len(), |line| place.end + line),
    };
    let (before, behind) = (&code[line.start..place.start], &code[place.end..line.end]);
    Some(Fault {
        message: "single quotes are around one letter".to_owned(),
        place,
        hint: "a text stands in double quotes".to_owned(),
        corrected: vec![format!("{before}{inner:?}{behind}")],
    })
}

fn brackets(code: &str, tokens: &[SyntaxToken]) -> Option<Fault> {
    let fault = |token: &SyntaxToken, message: String, hint: String| {
        let place = range(token);
        let corrected = Vec::new();
        Some(Fault {
            message,
            place,
            hint,
            corrected,
        })
    };
    let mut open: Vec<&SyntaxToken> = Vec::new();
    for token in tokens {
        if closing(token.kind()).is_some() {
            open.push(token);
            continue;
        }
        if !matches!(
            token.kind(),
            SyntaxKind::R_PAREN | SyntaxKind::R_BRACK | SyntaxKind::R_CURLY
        ) {
            continue;
        }
        let text = token.text();
        let Some(opened) = open.pop() else {
            let hint = "take it away, or open it before";
            return fault(
                token,
                format!("this `{text}` closes nothing"),
                hint.to_owned(),
            );
        };
        let Some(closed_by) = closing(opened.kind()).filter(|by| *by != text) else {
            continue;
        };
        let line = code[..range(opened).start].matches('\n').count() + 1;
        let message = format!(
            "this `{text}` does not close the `{}` of line {line}",
            opened.text()
        );
        return fault(token, message, format!("`{closed_by}` closes it"));
    }
    let opened = open.pop()?;
    let closed_by = closing(opened.kind())?;
    let message = format!("this `{}` is never closed", opened.text());
    fault(opened, message, format!("`{closed_by}` closes it"))
}

/// What closes an opening bracket; `None` for anything else.
fn closing(kind: SyntaxKind) -> Option<&'static str> {
    match kind {
        SyntaxKind::L_PAREN => Some(")"),
        SyntaxKind::L_BRACK => Some("]"),
        SyntaxKind::L_CURLY => Some("}"),
        _ => None,
    }
}

/// A `;` that is missing at the end of a line, and a cell that ends too early. Of the rest the compiler knows
/// more.
fn of_grammar(code: &str, tokens: &[SyntaxToken]) -> Option<Fault> {
    let parse = SourceFile::parse(&format!("{BEFORE}{code}{AFTER}"), Edition::Edition2024);
    let mut errors: Vec<(usize, String)> = parse
        .errors()
        .iter()
        .map(|error| {
            let start = usize::from(error.range().start());
            (start.saturating_sub(BEFORE.len()), error.to_string())
        })
        .collect();
    // Of several at one place the first says what is wrong.
    errors.sort_by_key(|(at, _)| *at);
    errors.dedup_by_key(|(at, _)| *at);
    let (first, message) = errors.first()?;
    let is_missing = |(at, message): &&(usize, String)| {
        message == "expected SEMICOLON" && ends_line(tokens, *at)
    };
    if errors.first().as_ref().is_some_and(is_missing) {
        let places = errors.iter().filter(is_missing).map(|(at, _)| *at);
        return Some(missing_semicolons(code, &places.collect::<Vec<_>>()));
    }
    let end = significant(tokens).last()?;
    (*first >= range(end).end).then(|| Fault {
        message: format!("the cell ends too early: {}", in_rust(message)),
        place: last_letter(code, range(end).end),
        hint: "write the rest of it".to_owned(),
        corrected: Vec::new(),
    })
}

fn missing_semicolons(code: &str, places: &[usize]) -> Fault {
    let line = |&place: &usize| {
        let start = code[..place].rfind('\n').map_or(0, |line| line + 1);
        let end = code[place..]
            .find('\n')
            .map_or(code.len(), |line| place + line);
        format!("{};{}", &code[start..place], &code[place..end])
    };
    Fault {
        message: "a `;` is missing at the end of this line".to_owned(),
        place: last_letter(code, places[0]),
        hint: "a statement ends with `;`; only the last expression of a cell, which is shown, has none".to_owned(),
        corrected: places.iter().map(line).collect(),
    }
}

fn significant(tokens: &[SyntaxToken]) -> impl Iterator<Item = &SyntaxToken> {
    tokens.iter().filter(|token| !token.kind().is_trivia())
}

/// Whether nothing but a comment stands behind this byte in its line.
fn ends_line(tokens: &[SyntaxToken], at: usize) -> bool {
    let behind = tokens.iter().skip_while(|token| range(token).end <= at);
    let mut behind = behind
        .take_while(|token| token.kind().is_trivia())
        .peekable();
    let is_last = significant(tokens).all(|token| range(token).end <= at);
    is_last || behind.any(|token| token.text().contains('\n'))
}

/// The letter before this byte.
fn last_letter(code: &str, end: usize) -> Range<usize> {
    let letter = code[..end].chars().next_back();
    end - letter.map_or(0, char::len_utf8)..end
}

/// The parser's names of signs, as Rust writes them.
fn in_rust(message: &str) -> String {
    const SIGNS: [(&str, &str); 12] = [
        ("SEMICOLON", "`;`"),
        ("COMMA", "`,`"),
        ("THIN_ARROW", "`->`"),
        ("FAT_ARROW", "`=>`"),
        ("COLON", "`:`"),
        ("EQ", "`=`"),
        ("PIPE", "`|`"),
        ("BANG", "`!`"),
        ("IN_KW", "`in`"),
        ("L_CURLY", "`{`"),
        ("L_PAREN", "`(`"),
        ("IDENT", "a name"),
    ];
    let words = message.split(' ').map(|word| {
        let sign = SIGNS.iter().find(|(name, _)| *name == word);
        sign.map_or(word, |(_, sign)| *sign)
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The message, and what it points at.
    fn told(code: &str) -> Option<(String, &str)> {
        fault(code).map(|fault| (fault.message, &code[fault.place]))
    }

    #[test]
    fn a_missing_semicolon_is_told_with_the_lines_to_copy() {
        for (code, corrected) in [
            ("let x = 5", vec!["let x = 5;"]),
            ("let a = 1\nlet b = 2", vec!["let a = 1;", "let b = 2;"]),
            ("let a = 값 // why\na", vec!["let a = 값; // why"]),
            ("let mut a = 1;\na = 2\na", vec!["a = 2;"]),
            ("use std::fs\nlet a = 1;", vec!["use std::fs;"]),
            ("let a = 1\nlet b =", vec!["let a = 1;"]),
        ] {
            let fault = fault(code).expect(code);
            assert!(fault.message.starts_with("a `;` is missing"), "{fault:?}");
            assert_eq!(fault.corrected, corrected, "{code}");
        }
        let (_, place) = told("let a = 값\na").expect("a fault");
        assert_eq!(place, "값");
    }

    #[test]
    fn what_never_ends_or_closes_is_told() {
        for (code, message, place) in [
            ("(1 + 2", "this `(` is never closed", "("),
            ("fn f() {\n  g(1);\n", "this `{` is never closed", "{"),
            ("1; }", "this `}` closes nothing", "}"),
            ("\nf(]", "this `]` does not close the `(` of line 2", "]"),
            ("let a = \"b;", "this text never ends", "\""),
            ("1 /* a", "this comment never ends", "/"),
            ("1 +", "the cell ends too early: expected expression", "+"),
            (
                "let x =",
                "the cell ends too early: expected expression",
                "=",
            ),
        ] {
            assert_eq!(told(code), Some((message.to_owned(), place)), "{code}");
        }
    }

    /// The compiler's own second error was about our source behind the cell.
    #[test]
    fn a_text_in_single_quotes_is_told_with_the_line_to_copy() {
        for (code, place, corrected) in [
            ("'single'", "'single'", "\"single\""),
            ("let a = 1;\nf('텍스트');", "'텍스트'", "f(\"텍스트\");"),
        ] {
            let fault = fault(code).expect(code);
            assert_eq!(fault.message, "single quotes are around one letter");
            assert_eq!(
                (&code[fault.place], fault.corrected),
                (place, vec![corrected.to_owned()])
            );
        }
        let fault = fault("print('hello world')").expect("a fault");
        assert_eq!(
            (fault.message.as_str(), fault.place.clone()),
            ("this quote never ends", 18..19)
        );
        assert!(
            fault.hint.starts_with("a text stands in double quotes"),
            "{fault:?}"
        );
        for code in [
            "f('a', '\\n', '\\u{301}', '한')",
            "f::<'static>(&'a b)",
            "'e\u{301}'",
        ] {
            assert_eq!(told(code), None, "{code}");
        }
    }

    #[test]
    fn what_is_right_or_what_the_compiler_says_better_is_left_to_it() {
        for code in [
            "1 + 1",
            "let a = 1;\na",
            "if a { b } else { c }\n[1, 2]",
            "print \"hello\"",
            "let = 3; 1",
            "fn 3() {}",
            "r#\"(\"# // (",
        ] {
            assert_eq!(told(code), None, "{code}");
        }
    }
}
