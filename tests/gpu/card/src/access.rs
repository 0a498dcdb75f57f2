//! What threads read, write and change of memory: a thread after the other, each place checked.

use crate::{
    block::{Block, How, Moment},
    lanes::{WARP, ones},
    memory::{Memory, number},
    numbers::{Type, float, rounded, signed},
    program::{Access, Change, Instruction, LOCAL, PARAMETERS, SHARED},
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
        let whole = size * instruction.at.len();
        for lane in lanes(mask) {
            let (space, address) = self.place(access, lane);
            self.check(
                (block, instruction),
                (space, address),
                (lane, whole, How::Read),
            )?;
            let bytes = if space == Space::Global {
                memory.read(&mut self.found, address, whole)
            } else {
                let bytes = self.bytes(block, space, lane).get(address as usize..);
                bytes.and_then(|bytes| bytes.get(..whole))
            };
            let Some(bytes) = bytes else {
                return Err(self.nowhere(block, memory, (instruction, space), (lane, address)));
            };
            for (&register, bytes) in instruction.at.iter().zip(bytes.chunks_exact(size)) {
                let value = number(bytes);
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
        let whole = size * instruction.at.len();
        for lane in lanes(mask) {
            let (space, address) = self.place(access, lane);
            self.check(
                (block, instruction),
                (space, address),
                (lane, whole, How::Write),
            )?;
            let Some(bytes) = self.bytes_mut(block, memory, (space, address), (lane, whole)) else {
                return Err(self.nowhere(block, memory, (instruction, space), (lane, address)));
            };
            for (&register, bytes) in instruction.at.iter().zip(bytes.chunks_exact_mut(size)) {
                let value = self.registers.get(register)[lane];
                bytes.copy_from_slice(&value.to_le_bytes()[..size]);
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
            let (space, address) = self.place(access, lane);
            self.check(
                (block, instruction),
                (space, address),
                (lane, size, How::Change),
            )?;
            let operands = [1, 2].map(|place| {
                let register = instruction.at.get(place);
                register.map_or(0, |register| self.registers.get(*register)[lane])
            });
            let operands = operands.map(|operand| operand & ones(kind.bits()));
            let Some(bytes) = self.bytes_mut(block, memory, (space, address), (lane, size)) else {
                return Err(self.nowhere(block, memory, (instruction, space), (lane, address)));
            };
            let before = number(bytes);
            let after = changed(kind, change, before, operands);
            bytes.copy_from_slice(&after.to_le_bytes()[..size]);
            self.registers.0[instruction.at[0] as usize][lane] = before;
        }
        Ok(())
    }

    /// The memory and the address there that an access means.
    #[inline]
    fn place(&self, access: &Access, lane: usize) -> (Space, u64) {
        let address = self.registers.get(access.base)[lane].wrapping_add_signed(access.offset);
        match access.space {
            Space::Generic => match address & (15 << 60) {
                SHARED => (Space::Shared, address - SHARED),
                LOCAL => (Space::Local, address - LOCAL),
                PARAMETERS => (Space::Parameter, address - PARAMETERS),
                _ => (Space::Global, address),
            },
            space => (space, address),
        }
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

    /// Bytes of any memory that can be written to.
    #[inline]
    fn bytes_mut<'b>(
        &mut self,
        block: &'b mut Block<'_>,
        memory: &'b mut Memory,
        (space, address): (Space, u64),
        (lane, size): (usize, usize),
    ) -> Option<&'b mut [u8]> {
        let bytes = match space {
            Space::Global => return memory.write(&mut self.found, address, size),
            Space::Shared => &mut block.shared[..],
            Space::Parameter | Space::Generic => return None,
            Space::Local => {
                let bytes = block.launch.program.local_bytes;
                &mut block.local[(self.number * WARP + lane) * bytes..][..bytes]
            }
        };
        bytes.get_mut(address as usize..)?.get_mut(..size)
    }

    /// Fails at an address that is no multiple of what is there, and where two threads use a word of a block without a
    /// wait between. Of parts of words nothing is known.
    #[inline]
    fn check(
        &self,
        (block, instruction): (&mut Block<'_>, &Instruction),
        (space, address): (Space, u64),
        (lane, size, how): (usize, usize, How),
    ) -> Result<(), Fault> {
        if !address.is_multiple_of(size as u64) {
            return Err(self.misaligned((block, instruction), lane, (address, size)));
        }
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
            if block.is_race(word, now, how) {
                let text = format!(
                    "word {word} of the block's memory is used by another thread without a barrier between"
                );
                return Err(self.fault(block, instruction, lane, &text));
            }
        }
        Ok(())
    }

    #[cold]
    fn misaligned(
        &self,
        (block, instruction): (&Block<'_>, &Instruction),
        lane: usize,
        (address, size): (u64, usize),
    ) -> Fault {
        let text = format!("{address:#x} is no multiple of {size}");
        Fault {
            kind: FaultKind::Misaligned,
            ..self.fault(block, instruction, lane, &text)
        }
    }

    #[cold]
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
