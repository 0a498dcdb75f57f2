//! Threads that go together as far as they go the same way (PTX ISA, "Independent Thread Scheduling" is more than is
//! done here: of those that part, the ones that are less far go first). What a warp reads, writes and exchanges is in
//! `access` and `exchange`.

use crate::{
    block::Block,
    lanes::{Registers, WARP},
    memory::{Found, Memory},
    program::{Act, Instruction},
    run::{Fault, FaultKind},
};

/// Threads that go together.
pub(crate) struct Warp<'a> {
    pub(crate) number: usize,
    pub(crate) registers: &'a mut Registers,
    /// Where each goes on.
    at: [usize; WARP],
    /// Those that have not ended.
    live: u32,
    /// Those that wait for others of the warp.
    waiting: u32,
    /// How often they have waited for each other.
    pub(crate) epoch: u32,
    pub(crate) found: Found,
}

impl<'a> Warp<'a> {
    pub(crate) fn new(number: usize, threads: usize, registers: &'a mut Registers) -> Self {
        let count = (threads - number * WARP).min(WARP);
        Self {
            number,
            registers,
            at: [0; WARP],
            live: u32::MAX >> (WARP - count),
            waiting: 0,
            epoch: 1,
            found: Found::default(),
        }
    }

    /// Goes on to the next barrier of the block. False where all have ended.
    pub(crate) fn run(
        &mut self,
        block: &mut Block<'_>,
        memory: &mut Memory,
    ) -> Result<bool, Fault> {
        let program = block.launch.program;
        while self.live != 0 {
            let ready = self.live & !self.waiting;
            // Where all wait, those who ended since may have been who was waited for.
            let from = if ready == 0 { self.live } else { ready };
            let first = lanes(from).map(|lane| self.at[lane]).min().unwrap_or(0);
            let together = lanes(self.live).filter(|lane| self.at[*lane] == first);
            let together = together.fold(0u32, |mask, lane| mask | 1 << lane);
            let (lane, instruction) = (together.trailing_zeros() as usize, &program.code[first]);
            let needed = self.needed(&instruction.act, instruction, lane);
            if ready == 0 && needed & self.live & !together != 0 {
                let why = "waits for threads that do not come";
                return Err(self.fault(block, instruction, lane, why));
            }
            self.waiting &= !together;
            if self.run_together(block, memory, (first, together))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Runs threads that are at one place until they part, meet others, wait or end. True at a barrier of the block.
    fn run_together(
        &mut self,
        block: &mut Block<'_>,
        memory: &mut Memory,
        (mut at, mut together): (usize, u32),
    ) -> Result<bool, Fault> {
        let program = block.launch.program;
        let mut meeting = self.next_other(at, together);
        loop {
            if at == meeting {
                self.set(together, at);
                return Ok(false);
            }
            let instruction = &program.code[at];
            let active = match instruction.guard {
                None => together,
                Some((register, negated)) => {
                    let truth = self.registers.truth(register);
                    together & if negated { !truth } else { truth }
                }
            };
            match &instruction.act {
                Act::Work(work) => {
                    if active != 0 {
                        work(self.registers, &instruction.at, active);
                    }
                }
                Act::Branch(target) => {
                    if active == together {
                        at = *target;
                        meeting = self.next_other(at, together);
                        continue;
                    }
                    if active != 0 {
                        self.set(active, *target);
                        self.set(together & !active, at + 1);
                        return Ok(false);
                    }
                }
                Act::Exit => {
                    self.live &= !active;
                    together &= !active;
                    if together == 0 {
                        return Ok(false);
                    }
                }
                Act::Load(access) => self.load(block, memory, (instruction, access), active)?,
                Act::Store(access) => self.store(block, memory, (instruction, access), active)?,
                Act::Change(access, change) => {
                    self.change(block, memory, (instruction, access, *change), active)?;
                }
                Act::Assertion | Act::Unknown if active == 0 => {}
                Act::Assertion => {
                    let lane = active.trailing_zeros() as usize;
                    let fault = self.fault(block, instruction, lane, "an assertion does not hold");
                    return Err(Fault {
                        kind: FaultKind::Assertion,
                        ..fault
                    });
                }
                Act::Unknown => {
                    let lane = active.trailing_zeros() as usize;
                    return Err(self.fault(block, instruction, lane, "is not known"));
                }
                _ if active == 0 => {}
                waits => match self.wait(block, (instruction, waits), (at, together, active))? {
                    Wait::Over => {}
                    Wait::OfWarp => return Ok(false),
                    Wait::OfBlock => return Ok(true),
                },
            }
            at += 1;
        }
    }

    /// Has threads wait for others: of their warp until those are at the same place, or of their block.
    fn wait(
        &mut self,
        block: &Block<'_>,
        (instruction, act): (&Instruction, &Act),
        (at, together, active): (usize, u32, u32),
    ) -> Result<Wait, Fault> {
        let lane = active.trailing_zeros() as usize;
        let needed = self.needed(act, instruction, lane);
        let agree = |lane| self.needed(act, instruction, lane) == needed && needed >> lane & 1 != 0;
        if active != together || !lanes(together).all(agree) {
            return Err(self.fault(block, instruction, lane, "waits for some of those who came"));
        }
        if matches!(act, Act::Multiply(..)) && self.live != u32::MAX {
            return Err(self.fault(block, instruction, lane, "multiplies without all of a warp"));
        }
        if needed & self.live & !together != 0 {
            self.set(together, at);
            self.waiting |= together;
            return Ok(Wait::OfWarp);
        }
        // What exchanges registers orders no memory.
        if matches!(act, Act::WarpBarrier | Act::Barrier) {
            self.epoch += 1;
        }
        if matches!(act, Act::Barrier) {
            self.set(together, at + 1);
            return Ok(Wait::OfBlock);
        }
        self.exchange(act, instruction, together);
        Ok(Wait::Over)
    }

    /// Threads that have to come, as the first says who did.
    fn needed(&self, act: &Act, instruction: &Instruction, lane: usize) -> u32 {
        match act {
            Act::Barrier | Act::Multiply(..) => u32::MAX,
            _ => instruction
                .at
                .last()
                .map_or(0, |at| self.registers.get(*at)[lane] as u32),
        }
    }

    /// The next place at which others are.
    fn next_other(&self, at: usize, together: u32) -> usize {
        let others = lanes(self.live & !together).map(|lane| self.at[lane]);
        others
            .filter(|other| *other >= at)
            .min()
            .unwrap_or(usize::MAX)
    }

    fn set(&mut self, mask: u32, at: usize) {
        for lane in lanes(mask) {
            self.at[lane] = at;
        }
    }

    pub(crate) fn fault(
        &self,
        block: &Block<'_>,
        instruction: &Instruction,
        lane: usize,
        what: &str,
    ) -> Fault {
        let (text, number) = &instruction.source;
        let thread = self.number * WARP + lane;
        Fault {
            kind: FaultKind::Undefined,
            text: format!(
                "{}, block {:?} of {:?}, thread {thread} of {:?}, line {number}, `{text}`: {what}",
                block.launch.program.name, block.place, block.launch.blocks, block.launch.threads
            ),
        }
    }
}

/// What threads wait for.
enum Wait {
    /// Nobody any more.
    Over,
    /// Others of their warp.
    OfWarp,
    /// Others of their block.
    OfBlock,
}

/// The lanes of a mask.
pub(crate) fn lanes(mut mask: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lane = mask.trailing_zeros();
        mask &= mask.wrapping_sub(1);
        (lane < 32).then_some(lane as usize)
    })
}
