//! What a warp runs: a kernel's statements, of which `decode` has made registers, places and addresses.

use crate::{
    lanes::{Lanes, Work},
    numbers::Type,
    text::Space,
};

/// Where the memory of a block starts among all addresses.
pub const SHARED: u64 = 1 << 60;
/// Where that of a thread starts.
pub const LOCAL: u64 = 2 << 60;
/// Where arguments start.
pub const PARAMETERS: u64 = 3 << 60;

/// A kernel that can be run.
pub struct Program {
    /// As the text has it.
    pub name: String,
    /// In order.
    pub code: Vec<Instruction>,
    /// What registers hold before: what numbers say, and elsewhere what no one should read.
    pub registers: Vec<Lanes>,
    /// Which of them hold what the launch says.
    pub specials: Vec<(Special, u32)>,
    /// Bytes of a block, without what the launch adds.
    pub shared_bytes: usize,
    /// Bytes of a thread.
    pub local_bytes: usize,
    /// Where arguments lie among their bytes, and how many bytes each is.
    pub parameters: Vec<(usize, usize)>,
    /// Threads of a block at most, where the text says so.
    pub most_threads: Option<u32>,
}

/// A step of a warp.
pub struct Instruction {
    /// A register, and whether its zeros are meant.
    pub guard: Option<(u32, bool)>,
    /// What is done.
    pub act: Act,
    /// The registers that it is done with; its result is the first.
    pub at: Vec<u32>,
    /// As the text has it, and on which line.
    pub source: (String, usize),
}

/// What a step does.
pub enum Act {
    /// Something with registers alone.
    Work(Work),
    /// Reads as many values as there are registers.
    Load(Access),
    /// Writes them.
    Store(Access),
    /// Changes a value that others may change: of registers the former value, then operands.
    Change(Access, Change),
    /// Goes on elsewhere.
    Branch(usize),
    /// Ends threads.
    Exit,
    /// Waits for the block.
    Barrier,
    /// Waits for a warp, of which the register says who.
    WarpBarrier,
    /// Exchanges registers within a warp: result, source, distance, bounds and who.
    Shuffle(Shuffle),
    /// The lanes of those in the last register in which the second is true.
    Ballot,
    /// Multiplies a tile: four results, four or two registers of `a`, two or one of `b`, four sums.
    Multiply(Type, u32),
    /// An assertion of the kernel did not hold.
    Assertion,
    /// What is not known.
    Unknown,
}

/// A place of memory.
#[derive(Clone, Copy)]
pub struct Access {
    /// Of which kind.
    pub space: Space,
    /// Of each value.
    pub kind: Type,
    /// The register of its address.
    pub base: u32,
    /// Bytes behind it.
    pub offset: i64,
}

/// What becomes of a value that others may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The sum.
    Add,
    /// The greater.
    Max,
    /// The smaller.
    Min,
    /// The bits of both.
    Or,
    /// The bits in both.
    And,
    /// Another.
    Exchange,
    /// Another where it is what it is taken for.
    CompareExchange,
}

/// From which lane a lane takes a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shuffle {
    /// `xor` of both numbers.
    Butterfly,
    /// From one before it.
    Up,
    /// From one behind it.
    Down,
    /// From one of this number.
    Index,
}

/// What a launch says, of a thread or of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// A thread's number in its block, by direction.
    Thread(usize),
    /// How many there are.
    Threads(usize),
    /// A block's number.
    Block(usize),
    /// How many there are.
    Blocks(usize),
    /// A thread's number in its warp.
    Lane,
}

impl Special {
    pub(crate) fn of(word: &str) -> Option<Self> {
        let direction = |word: &str| ["x", "y", "z"].iter().position(|name| *name == word);
        Some(match word.split_once('.') {
            Some(("%tid", side)) => Self::Thread(direction(side)?),
            Some(("%ntid", side)) => Self::Threads(direction(side)?),
            Some(("%ctaid", side)) => Self::Block(direction(side)?),
            Some(("%nctaid", side)) => Self::Blocks(direction(side)?),
            None if word == "%laneid" => Self::Lane,
            _ => return None,
        })
    }
}
