//! One definition of a cell: what it is called by, what it replaces, and what it says of others.

use std::{collections::HashSet, ops::Range, sync::Arc};

use super::{
    statics::Statics,
    words::{named, words},
};

/// The text of a cell that was run, to show errors in.
#[derive(Debug)]
pub struct Source {
    pub count: u32,
    pub code: String,
}

/// One definition.
#[derive(Clone, Debug)]
pub struct Item {
    pub kind: Kind,
    /// What the compiler gets.
    pub text: String,
    /// Where in its cell it comes from.
    pub place: Range<usize>,
    /// Its cell; `None` until it has run.
    pub source: Option<Arc<Source>>,
    /// What it speaks of.
    pub words: Arc<HashSet<String>>,
    /// Of those, what may stand for a type or a constant: names in paths, and all that a macro gets.
    pub named: Arc<HashSet<String>>,
    /// Statics in it that libraries share.
    pub statics: Option<Statics>,
}

/// What a definition is, for being found and being replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One name of a `use`.
    Import { name: String },
    /// A `use` that gives no name of its own: `*` or `_`.
    Glob,
    /// A structure, enumeration, union or alias: what a variable's type may be made of.
    Type { name: String },
    /// A trait, with the names by which its methods are called.
    Trait { name: String, methods: Vec<String> },
    /// A module: types in it are named through it.
    Module { name: String },
    /// A constant or a function for constants, which an array's length may be made of.
    Constant { name: String },
    /// Another function or a static.
    Value { name: String },
    /// A macro.
    Macro { name: String },
    /// The statics of a `thread_local!`.
    ThreadLocal { names: Vec<String> },
    /// An `impl`: its first line, whether it is that of a trait, what it defines, and whether types or
    /// constants are among that, from which a layout may follow.
    Impl {
        header: String,
        of_trait: bool,
        members: Vec<String>,
        shapes: bool,
    },
    /// Anything else; the same text again is the same item.
    Other,
}

impl Item {
    /// A definition of the cell that is being read.
    pub fn new(kind: Kind, text: String, place: Range<usize>) -> Self {
        let words = Arc::new(words(&text).map(str::to_owned).collect());
        let mut item = Self {
            kind,
            text,
            place,
            source: None,
            words,
            named: Arc::default(),
            statics: None,
        };
        if item.shapes_types() {
            item.named = Arc::new(named(&item.text));
        }
        item
    }

    /// The name of what is one thing, but for a macro: these have names of their own.
    pub fn name(&self) -> Option<&str> {
        match &self.kind {
            Kind::Import { name }
            | Kind::Type { name }
            | Kind::Trait { name, .. }
            | Kind::Module { name }
            | Kind::Constant { name }
            | Kind::Value { name } => Some(name),
            _ => None,
        }
    }

    /// The names by which cells call it.
    pub fn names(&self) -> &[String] {
        match &self.kind {
            Kind::Import { name }
            | Kind::Type { name }
            | Kind::Trait { name, .. }
            | Kind::Module { name }
            | Kind::Constant { name }
            | Kind::Value { name }
            | Kind::Macro { name } => std::slice::from_ref(name),
            Kind::ThreadLocal { names } => names,
            Kind::Glob | Kind::Impl { .. } | Kind::Other => &[],
        }
    }

    /// Whether it is an `extern crate`: a `use` is made anew of each of its names.
    pub fn is_extern_crate(&self) -> bool {
        matches!(self.kind, Kind::Import { .. }) && !self.text.starts_with("use ")
    }

    pub fn is_impl(&self) -> bool {
        matches!(self.kind, Kind::Impl { .. })
    }

    /// Its cell, and where it begins there.
    pub fn is_at(&self) -> Option<(u32, usize)> {
        let source = self.source.as_ref()?;
        Some((source.count, self.place.start))
    }

    /// The names that stand where a variable's may.
    pub fn value_names(&self) -> &[String] {
        match &self.kind {
            Kind::Constant { name } | Kind::Value { name } => std::slice::from_ref(name),
            Kind::ThreadLocal { names } => names,
            _ => &[],
        }
    }

    /// What the compiler gets of it where its statics are those of all libraries.
    pub fn exported(&self) -> String {
        let statics = self.statics.as_ref();
        statics.map_or_else(|| self.text.clone(), |statics| statics.exported(&self.text))
    }

    /// The first line of it, for telling the user.
    pub fn headline(&self) -> &str {
        if let Kind::Impl { header, .. } = &self.kind {
            return header;
        }
        let line = self.text.lines().next().unwrap_or_default();
        line.trim_end_matches('{').trim()
    }

    /// Whether a type's layout, or what a trait object is called by, may follow from it.
    pub fn shapes_types(&self) -> bool {
        matches!(
            self.kind,
            Kind::Import { .. }
                | Kind::Type { .. }
                | Kind::Trait { .. }
                | Kind::Module { .. }
                | Kind::Constant { .. }
                | Kind::Impl { shapes: true, .. }
        )
    }

    /// Whether a definition takes its place.
    pub fn is_replaced_by(&self, new: &Self) -> bool {
        match (&self.kind, &new.kind) {
            (Kind::Macro { name }, Kind::Macro { name: other }) => name == other,
            (
                Kind::Impl {
                    header,
                    of_trait,
                    members,
                    ..
                },
                Kind::Impl {
                    header: other,
                    members: others,
                    ..
                },
            ) => {
                header == other
                    && (*of_trait
                        || members.is_empty()
                        || members.iter().any(|name| others.contains(name)))
            }
            (Kind::Glob | Kind::Other, Kind::Glob | Kind::Other) => self.text == new.text,
            (Kind::ThreadLocal { names }, _) => {
                new.value_names().iter().any(|name| names.contains(name))
            }
            (_, Kind::ThreadLocal { names }) => {
                self.value_names().iter().any(|name| names.contains(name))
            }
            _ => self.name().is_some() && self.name() == new.name(),
        }
    }

    /// Whether something that speaks of these words may need this item.
    pub fn is_wanted(&self, spoken: &HashSet<String>, local: &HashSet<&str>) -> bool {
        match &self.kind {
            Kind::Import { .. } | Kind::Glob | Kind::Other => true,
            Kind::Type { name }
            | Kind::Module { name }
            | Kind::Constant { name }
            | Kind::Value { name }
            | Kind::Macro { name } => spoken.contains(name),
            Kind::ThreadLocal { names } => names.iter().any(|name| spoken.contains(name)),
            Kind::Trait { name, methods } => {
                spoken.contains(name) || methods.iter().any(|method| spoken.contains(method))
            }
            Kind::Impl { header, .. } => words(header)
                .filter(|word| local.contains(word))
                .all(|word| spoken.contains(word)),
        }
    }
}
