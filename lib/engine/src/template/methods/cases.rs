//! Upper and lower case, and of which kind characters are.

use super::super::python::is_printable;

/// The methods that ask what a text is of.
pub(super) fn tested(text: &str, name: &str) -> Option<bool> {
    let all = |test: fn(char) -> bool| !text.is_empty() && text.chars().all(test);
    let any = |test: fn(char) -> bool| text.chars().any(test);
    Some(match name {
        "isspace" => all(is_space),
        "isdigit" => all(|c| c.is_numeric() && !matches!(c, '½' | '¼' | '¾' | 'Ⅰ'..='ↈ')),
        "isdecimal" => all(|c| c.is_numeric() && !"²³¹⁰⁴⁵⁶⁷⁸⁹½¼¾".contains(c)),
        "isnumeric" => all(char::is_numeric),
        "isalpha" => all(char::is_alphabetic),
        "isalnum" => all(char::is_alphanumeric),
        "isascii" => text.is_ascii(),
        "isprintable" => text.chars().all(is_printable),
        "islower" => any(char::is_lowercase) && !any(char::is_uppercase),
        "isupper" => any(char::is_uppercase) && !any(char::is_lowercase),
        "istitle" => any(char::is_uppercase) && title(text) == text,
        "isidentifier" => {
            let starts = text.starts_with(|c: char| c == '_' || c.is_alphabetic());
            starts && text.chars().all(|c| c == '_' || c.is_alphanumeric())
        }
        _ => return None,
    })
}

/// The methods that give a text in another case.
pub(super) fn changed(text: &str, name: &str) -> Option<String> {
    Some(match name {
        "upper" => text.to_uppercase(),
        "lower" => text.to_lowercase(),
        "casefold" => text.to_lowercase().replace('ß', "ss").replace('ς', "σ"),
        "swapcase" => text.chars().map(swapped).collect(),
        "title" => title(text),
        "capitalize" => capitalize(text),
        _ => return None,
    })
}

fn swapped(character: char) -> String {
    if character.is_uppercase() {
        character.to_lowercase().collect()
    } else {
        character.to_uppercase().collect()
    }
}

/// `str.title`: a word is a run of cased letters. Title case is upper case, but for three digraphs.
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_word = false;
    for character in text.chars() {
        match character {
            'Ǆ' | 'ǆ' if !in_word => out.push('ǅ'),
            'Ǉ' | 'ǉ' if !in_word => out.push('ǈ'),
            'Ǌ' | 'ǌ' if !in_word => out.push('ǋ'),
            _ if in_word => out.extend(character.to_lowercase()),
            _ => out.extend(character.to_uppercase()),
        }
        in_word = character.is_lowercase() || character.is_uppercase();
    }
    out
}

pub fn capitalize(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters
        .next()
        .map(|first| first.to_uppercase().to_string());
    first.unwrap_or_default() + &characters.as_str().to_lowercase()
}

/// `str.isspace` of one character.
pub fn is_space(character: char) -> bool {
    character.is_whitespace() || matches!(character, '\u{1c}'..='\u{1f}')
}
