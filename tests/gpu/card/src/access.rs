//! What threads read, write and change of memory: a thread after the other, each place checked.

use crate::{
    block::{Block, Moment},
    lanes::WARP,
    memory::{Memory, number},
    numbers::{Type, float, rounded, signed},
    program::{Access, Act, Change, Instruction, LOCAL, PARAMETERS, SHARED},
    run::{Fault, FaultKind},
    text::Space,
    warp::{Warp, lanes},
};

impl Warp<'_> {
    pub(crate) fn load(
        &mut self,
        block: &mut Block<'_>,
        memory: &Memory,
        (instruction, access): (&Instruction, &Access),
        mask: u32,
    ) -> Result<(), Fault> {
        let size = access.kind.bits() as usize / 8;
        for lane in lanes(mask) {
            let (space, address) = self.place(block, (instruction, access), lane)?;
            for (place, &register) in instruction.at.iter().enumerate() {
                let address = address + (place * size) as u64;
                self.check(block, (space, address), (lane, size, false), instruction)?;
                let value = self.get(block, memory, (space, address), (lane, size));
                let Some(value) = value else {
                    return Err(self.nowhere(block, memory, (instruction, space), (lane, address)));
                };
                self.registers.0[register as usize][lane] = match access.kind {
                    Type::Signed(_) => signed(access.kind, value) as u64,
                    _ => value,
                };
            }
        }
        Ok(())
    }

    pub(crate) fn store(
        &mut self,
        block: &mut Block<'_>,
        memory: &mut Memory,
        (instruction, access): (&Instruction, &Access),
        mask: u32,
    ) -> Result<(), Fault> {
        let size = access.kind.bits() as usize / 8;
        for lane in lanes(mask) {
            let (space, address) = self.place(block, (instruction, access), lane)?;
            for (place, &register) in instruction.at.iter().enumerate() {
                let address = address + (place * size) as u64;
                let value = self.registers.get(register)[lane];
                self.check(block, (space, address), (lane, size, true), instruction)?;
                if self
                    .put(block, memory, (space, address), (lane, size, value))
                    .is_none()
                {
                    return Err(self.nowhere(block, memory, (instruction, space), (lane, address)));
                }
            }
        }
        Ok(())
    }

    /// One thread after the other.
    pub(crate) fn change(
        &mut self,
        block: &mut Block<'_>,
        memory: &mut Memory,
        (instruction, access, change): (&Instruction, &Access, Change),
        mask: u32,
    ) -> Result<(), Fault> {
        let (kind, size) = (access.kind, access.kind.bits() as usize / 8);
        for lane in lanes(mask) {
            let (space, address) = self.place(block, (instruction, access), lane)?;
            let before = self.get(block, memory, (space, address), (lane, size));
            let Some(before) = before else {
                return Err(self.nowhere(block, memory, (instruction, space), (lane, address)));
            };
            let operand = |place: usize| self.registers.get(instruction.at[place])[lane];
            let after = changed(
                kind,
                change,
                before,
                [1, 2].map(|place| {
                    if place < instruction.at.len() {
                        operand(place)
                    } else {
                        0
                    }
                }),
            );
            self.put(block, memory, (space, address), (lane, size, after));
            self.registers.0[instruction.at[0] as usize][lane] = before;
        }
        Ok(())
    }

    /// The memory and the address there that an access means.
    fn place(
        &self,
        block: &Block<'_>,
        (instruction, access): (&Instruction, &Access),
        lane: usize,
    ) -> Result<(Space, u64), Fault> {
        let address = self.registers.get(access.base)[lane].wrapping_add_signed(access.offset);
        let bytes = u64::from(access.kind.bits() / 8) * instruction.values() as u64;
        if !address.is_multiple_of(bytes) {
            let text = format!("{address:#x} is no multiple of {bytes}");
            let fault = self.fault(block, instruction, lane, &text);
            return Err(Fault {
                kind: FaultKind::Misaligned,
                ..fault
            });
        }
        Ok(match access.space {
            Space::Generic => match address & (15 << 60) {
                SHARED => (Space::Shared, address - SHARED),
                LOCAL => (Space::Local, address - LOCAL),
                PARAMETERS => (Space::Parameter, address - PARAMETERS),
                _ => (Space::Global, address),
            },
            space => (space, address),
        })
    }

    /// The memory that is not the card's.
    fn bytes<'b>(&self, block: &'b Block<'_>, space: Space, lane: usize) -> &'b [u8] {
        match space {
            Space::Shared => &block.shared,
            Space::Parameter => block.launch.arguments,
            _ => {
                let bytes = block.launch.program.local_bytes;
                &block.local[(self.number * WARP + lane) * bytes..][..bytes]
            }
        }
    }

    fn get(
        &mut self,
        block: &Block<'_>,
        memory: &Memory,
        (space, address): (Space, u64),
        (lane, size): (usize, usize),
    ) -> Option<u64> {
        if space == Space::Global {
            return memory.read(&mut self.found, address, size);
        }
        let bytes = self.bytes(block, space, lane);
        let bytes = bytes.get(address as usize..)?.get(..size)?;
        Some(number(bytes))
    }

    fn put(
        &mut self,
        block: &mut Block<'_>,
        memory: &mut Memory,
        (space, address): (Space, u64),
        (lane, size, value): (usize, usize, u64),
    ) -> Option<()> {
        let bytes = match space {
            Space::Global => return memory.write(&mut self.found, address, size, value),
            Space::Shared => &mut block.shared[..],
            Space::Parameter | Space::Generic => return None,
            Space::Local => {
                let bytes = block.launch.program.local_bytes;
                &mut block.local[(self.number * WARP + lane) * bytes..][..bytes]
            }
        };
        let place = bytes.get_mut(address as usize..)?.get_mut(..size)?;
        place.copy_from_slice(&value.to_le_bytes()[..size]);
        Some(())
    }

    /// Fails where two threads use a word of a block without a wait between. Of parts of words nothing is known.
    fn check(
        &self,
        block: &mut Block<'_>,
        (space, address): (Space, u64),
        (lane, size, is_write): (usize, usize, bool),
        instruction: &Instruction,
    ) -> Result<(), Fault> {
        if space != Space::Shared || size < 4 {
            return Ok(());
        }
        let now = Moment {
            epoch: block.epoch,
            warp: self.number as u32,
            of_warp: self.epoch,
            lane: lane as u32,
        };
        for word in address as usize / 4..(address as usize + size) / 4 {
            if block.is_race(word, now, is_write) {
                let text = format!(
                    "word {word} of the block's memory is used by another thread without a barrier between"
                );
                return Err(self.fault(block, instruction, lane, &text));
            }
        }
        Ok(())
    }

    fn nowhere(
        &self,
        block: &Block<'_>,
        memory: &Memory,
        (instruction, space): (&Instruction, Space),
        (lane, address): (usize, u64),
    ) -> Fault {
        let place = match space {
            Space::Global => memory.describe(address),
            _ => format!("of {} bytes", self.bytes(block, space, lane).len()),
        };
        let fault = self.fault(
            block,
            instruction,
            lane,
            &format!("{address:#x} of {space:?} is nowhere: {place}"),
        );
        Fault {
            kind: FaultKind::Address,
            ..fault
        }
    }
}

impl Instruction {
    /// How many values an access reads or writes beside each other.
    fn values(&self) -> usize {
        match self.act {
            Act::Load(_) | Act::Store(_) => self.at.len(),
            _ => 1,
        }
    }
}

fn changed(kind: Type, change: Change, before: u64, [first, second]: [u64; 2]) -> u64 {
    if kind.is_float() && change == Change::Add {
        return rounded(kind, float(kind, before) + float(kind, first));
    }
    let is_signed = matches!(kind, Type::Signed(_));
    match change {
        Change::Add => before.wrapping_add(first),
        Change::Max if is_signed => signed(kind, before).max(signed(kind, first)) as u64,
        Change::Min if is_signed => signed(kind, before).min(signed(kind, first)) as u64,
        Change::Max => before.max(first),
        Change::Min => before.min(first),
        Change::Or => before | first,
        Change::And => before & first,
        Change::Exchange => first,
        Change::CompareExchange if before == first => second,
        Change::CompareExchange => before,
    }
}
