//! Outlines: the modules of an architecture as a text, one a line, indented by two under the one around it. The
//! first block is the model without a head, the others are the heads, by the ends of their classes' names.
//!
//! A line is a name, and what it is: `= Class` a module of those below, `list Class` as many of them as the file
//! has, `~ keys default` a dropout, `@ key default` an activation, `is Text` just that; else a layer, where the
//! file has it. Behind it may stand
//! - `for` the classes that have it, `if` a key of the configuration that must be true, `unless` a layer that the
//!   file must not have;
//! - `or` what stands there where nothing is (for a dropout, where its rate is 0), which `counts` so many
//!   parameters that no file has;
//! - of layers `as` the class, `pads` the id of padding where the configuration gives none, `of` other layers
//!   whose weights these may be, `tied` for a head that may be the token table's, `biased` for one with a bias
//!   whatever the file has;
//! - of modules `plus` a parameter of their own.

/// A line with those below it.
#[derive(Debug)]
pub struct Line<'a> {
    pub name: &'a str,
    words: Vec<&'a str>,
    pub below: Vec<Line<'a>>,
}

/// Words that say what those behind them are.
const KEYWORDS: [&str; 16] = [
    "=", "list", "~", "@", "is", "for", "if", "unless", "or", "counts", "as", "pads", "of", "tied",
    "biased", "plus",
];

impl<'a> Line<'a> {
    /// The words behind a keyword; `None` where the line does not have it.
    pub fn words(&self, keyword: &str) -> Option<&[&'a str]> {
        let start = self.words.iter().position(|word| *word == keyword)? + 1;
        let behind = &self.words[start..];
        let end = behind.iter().position(|word| KEYWORDS.contains(word));
        Some(&behind[..end.unwrap_or(behind.len())])
    }

    /// The same as one text.
    pub fn text(&self, keyword: &str) -> Option<String> {
        self.words(keyword).map(|words| words.join(" "))
    }
}

/// The blocks of an outline. Lines that begin with `#` are for its readers.
pub fn parse(text: &str) -> Vec<Line<'_>> {
    let lines = text
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    let lines: Vec<(usize, &str)> = lines
        .map(|line| (line.len() - line.trim_start().len(), line.trim()))
        .collect();
    blocks(&lines, 0)
}

/// The lines that stand at this indentation, each with the deeper ones behind it.
fn blocks<'a>(mut lines: &[(usize, &'a str)], indent: usize) -> Vec<Line<'a>> {
    let mut found = Vec::new();
    while let Some(((_, line), behind)) = lines.split_first() {
        let end = behind.iter().position(|(depth, _)| *depth <= indent);
        let (below, rest) = behind.split_at(end.unwrap_or(behind.len()));
        let mut words = line.split_whitespace();
        found.push(Line {
            name: words.next().unwrap_or_default(),
            words: words.collect(),
            below: blocks(below, indent + 2),
        });
        lines = rest;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stand_under_the_one_around_them() {
        let text = "# a note\nbody = Model\n  layers list Layer\n    norm as Norm(1, 2) or Identity()\n  head\n\nForX\n";
        let blocks = parse(text);
        assert_eq!(blocks.len(), 2);
        let [layers, head] = &blocks[0].below[..] else {
            panic!("{blocks:?}")
        };
        assert_eq!((layers.name, head.name), ("layers", "head"));
        let norm = &layers.below[0];
        assert_eq!(norm.text("as").as_deref(), Some("Norm(1, 2)"));
        assert_eq!(norm.text("or").as_deref(), Some("Identity()"));
        assert_eq!(norm.words("for"), None);
    }
}
