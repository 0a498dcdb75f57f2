//! Positions in text: the protocol counts code points (since 5.2), Rust counts bytes.

/// The byte at which the `position`th code point starts; the end of the text if it has fewer.
pub(crate) fn byte_of(text: &str, position: usize) -> usize {
    text.char_indices()
        .nth(position)
        .map_or(text.len(), |(byte, _)| byte)
}

/// How many code points start before `byte`, which is cut to the text's length.
pub(crate) fn code_point_of(text: &str, byte: usize) -> usize {
    text.char_indices()
        .take_while(|(start, _)| *start < byte)
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn korean_and_emoji_are_one_position_each() {
        let text = "가🦀b";
        assert_eq!(
            (0..5).map(|p| byte_of(text, p)).collect::<Vec<_>>(),
            [0, 3, 7, 8, 8]
        );
        assert_eq!(
            [0, 3, 7, 8, 99].map(|b| code_point_of(text, b)),
            [0, 1, 2, 3, 3]
        );
    }
}
