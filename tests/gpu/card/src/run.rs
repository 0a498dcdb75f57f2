//! Runs a kernel, block after block. Warps of a block take turns between barriers, in another order each time, and the
//! threads of a warp go together as far as they go the same way. Of what a card leaves undefined these are faults: an
//! address that nobody was given or that is not a multiple of what is read, a wait for threads of a warp that never come or
//! were not meant, and a word of a block's memory that two threads use without a barrier between, unless both read or both
//! change it at once. Not looked for: whole warps that end before others' barriers, parts of words, memory of the card that
//! several threads use, and what was never written, which is no number that anyone could take for one.

use crate::{
    block::Block,
    lanes::{Registers, WARP},
    memory::Memory,
    program::{Program, Special},
    warp::Warp,
};

/// A launch.
pub struct Launch<'a> {
    /// What is run.
    pub program: &'a Program,
    /// Blocks in each direction.
    pub blocks: [u32; 3],
    /// Threads of a block in each direction.
    pub threads: [u32; 3],
    /// Bytes of a block, beside what the program has.
    pub shared_bytes: usize,
    /// Bytes of what it takes, as the program lays them.
    pub arguments: &'a [u8],
    /// By which the order of warps is drawn.
    pub seed: u64,
}

/// Why a kernel cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Of which kind.
    pub kind: FaultKind,
    /// What happened where.
    pub text: String,
}

/// As a card tells faults apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// An address that nobody was given.
    Address,
    /// An address that is not a multiple of what is read.
    Misaligned,
    /// An assertion of the kernel.
    Assertion,
    /// What a card leaves undefined, or what is not known here.
    Undefined,
}

/// Runs all blocks.
pub fn run(
    launch: &Launch<'_>,
    memory: &mut Memory,
    pool: &mut Vec<Registers>,
) -> Result<(), Fault> {
    let threads = launch.threads.iter().product::<u32>() as usize;
    let warps = threads.div_ceil(WARP);
    while pool.len() < warps {
        pool.push(Registers(Vec::new()));
    }
    for (number, registers) in pool.iter_mut().enumerate().take(warps) {
        registers.0.clone_from(&launch.program.registers);
        set_threads(launch, number, registers);
    }
    let mut random = launch.seed | 1;
    let [x, y, z] = launch.blocks.map(u64::from);
    for number in 0..x * y * z {
        let place = [number % x, number / x % y, number / x / y].map(|place| place as u32);
        let mut block = Block::new(launch, place, threads);
        let mut all: Vec<Warp<'_>> = pool[..warps]
            .iter_mut()
            .enumerate()
            .map(|(number, registers)| Warp::new(number, threads, registers))
            .collect();
        for warp in &mut all {
            set_block(launch, place, warp.registers);
        }
        let mut waiting: Vec<usize> = (0..warps).collect();
        while !waiting.is_empty() {
            shuffle(&mut waiting, &mut random);
            let mut arrived = Vec::new();
            for &warp in &waiting {
                if all[warp].run(&mut block, memory)? {
                    arrived.push(warp);
                }
            }
            waiting = arrived;
            block.epoch += 1;
        }
    }
    Ok(())
}

/// Sets what is the same in all blocks.
fn set_threads(launch: &Launch<'_>, warp: usize, registers: &mut Registers) {
    let [x, y, _] = launch.threads;
    for &(special, at) in &launch.program.specials {
        let of_thread = |thread: u32| match special {
            Special::Thread(0) => thread % x,
            Special::Thread(1) => thread / x % y,
            Special::Thread(_) => thread / x / y,
            Special::Threads(side) => launch.threads[side],
            Special::Blocks(side) => launch.blocks[side],
            Special::Lane => thread % WARP as u32,
            Special::Block(_) => 0,
        };
        for lane in 0..WARP {
            registers.0[at as usize][lane] = of_thread((warp * WARP + lane) as u32).into();
        }
    }
}

fn set_block(launch: &Launch<'_>, place: [u32; 3], registers: &mut Registers) {
    for &(special, at) in &launch.program.specials {
        if let Special::Block(side) = special {
            registers.0[at as usize] = [place[side].into(); WARP];
        }
    }
}

/// In another order (Fisher and Yates, by xorshift).
fn shuffle(all: &mut [usize], random: &mut u64) {
    for last in (1..all.len()).rev() {
        *random ^= *random << 13;
        *random ^= *random >> 7;
        *random ^= *random << 17;
        all.swap(last, (*random % (last as u64 + 1)) as usize);
    }
}
