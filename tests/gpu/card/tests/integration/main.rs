//! What the stand-in makes of small kernels, as the PTX ISA has it, and of those that a card leaves undefined.

use std::collections::BTreeMap;

use standin_card::{
    decode::decode,
    memory::Memory,
    run::{Fault, FaultKind, Launch, run},
    text,
};

/// Where memory starts.
const FIRST: u64 = 1 << 48;

/// A kernel of one parameter, the address of what it writes.
fn kernel(declarations: &str, body: &str) -> String {
    format!(
        ".version 9.0\n.target sm_80\n.address_size 64\n\n.visible .entry tried(\n\t.param .u64 tried_param_0\n)\n{{\n\
         \t.reg .pred %p<9>;\n\t.reg .b16 %h<9>;\n\t.reg .b32 %r<40>;\n\t.reg .f32 %f<40>;\n\t.reg .b64 %rd<9>;\n\
         {declarations}\n\tld.param.u64 %rd1, [tried_param_0];\n\tcvta.to.global.u64 %rd1, %rd1;\n\
         \tmov.u32 %r1, %tid.x;\n\tmul.wide.u32 %rd2, %r1, 4;\n\tadd.s64 %rd2, %rd1, %rd2;\n{body}\n\tret;\n}}\n"
    )
}

/// What threads of one block write, a word each.
fn words(declarations: &str, body: &str, threads: u32) -> Result<Vec<u32>, Fault> {
    let mut memory = Memory::new(FIRST, 1 << 20);
    let address = memory
        .take(4 * threads as usize)
        .expect("a megabyte is free");
    launch((declarations, body), threads, address, &mut memory)?;
    let bytes = memory
        .at(address, 4 * threads as usize)
        .expect("they were taken");
    let words = bytes
        .chunks(4)
        .map(|word| u32::from_le_bytes(word.try_into().expect("four bytes")));
    Ok(words.collect())
}

fn launch(
    (declarations, body): (&str, &str),
    threads: u32,
    address: u64,
    memory: &mut Memory,
) -> Result<(), Fault> {
    let text = text::read(&kernel(declarations, body)).expect("a kernel");
    let program = decode("tried", &text.kernels["tried"], &BTreeMap::new(), &[]).expect("a kernel");
    let launch = Launch {
        program: &program,
        blocks: [1; 3],
        threads: [threads, 1, 1],
        shared_bytes: 0,
        arguments: &address.to_le_bytes(),
        seed: 7,
    };
    run(&launch, memory, &mut Vec::new())
}

/// What an instruction gives, of registers `%r2`, `%r3`, `%r4` and `%r5`.
fn made(instruction: &str, [a, b, c, d]: [u32; 4]) -> u32 {
    let body = format!(
        "mov.u32 %r2, {a};\nmov.u32 %r3, {b};\nmov.u32 %r4, {c};\nmov.u32 %r5, {d};\n{instruction}\nst.global.u32 [%rd2], %r6;"
    );
    words("", &body, 1).expect("it runs")[0]
}

fn bits(value: f32) -> u32 {
    value.to_bits()
}

#[test]
fn integers() {
    let cases = [
        ("add.s32 %r6, %r2, %r3;", [u32::MAX, 3, 0, 0], 2),
        ("mul.hi.u32 %r6, %r2, %r3;", [1 << 31, 6, 0, 0], 3),
        (
            "mad.lo.s32 %r6, %r2, %r3, %r4;",
            [5, u32::MAX, 2, 0],
            u32::MAX - 2,
        ),
        (
            "div.s32 %r6, %r2, %r3;",
            [(-7i32) as u32, 2, 0, 0],
            (-3i32) as u32,
        ),
        ("rem.u32 %r6, %r2, %r3;", [23, 7, 0, 0], 2),
        ("shr.s32 %r6, %r2, %r3;", [1 << 31, 40, 0, 0], u32::MAX),
        ("shl.b32 %r6, %r2, %r3;", [1, 32, 0, 0], 0),
        ("min.s32 %r6, %r2, %r3;", [u32::MAX, 1, 0, 0], u32::MAX),
        ("min.u32 %r6, %r2, %r3;", [u32::MAX, 1, 0, 0], 1),
        ("bfe.u32 %r6, %r2, %r3, %r4;", [0xabcd, 4, 8, 0], 0xbc),
        ("bfe.s32 %r6, %r2, %r3, %r4;", [0xf0, 4, 4, 0], u32::MAX),
        ("bfi.b32 %r6, %r2, %r3, %r4, %r5;", [0xff, 0, 8, 4], 0xf00),
        (
            "prmt.b32 %r6, %r2, %r3, %r4;",
            [0x3322_1100, 0x7766_5544, 0x0b71, 0],
            0x0000_7711,
        ),
        (
            "prmt.b32 %r6, %r2, %r3, %r4;",
            [0x8000_0000, 0, 0xb000, 0],
            0xff00_0000,
        ),
        (
            "lop3.b32 %r6, %r2, %r3, %r4, 0x96;",
            [0b1100, 0b1010, 0b0110, 0],
            0,
        ),
        (
            "lop3.b32 %r6, %r2, %r3, %r4, 0xe8;",
            [0b1100, 0b1010, 0b0110, 0],
            0b1110,
        ),
        (
            "shf.l.wrap.b32 %r6, %r2, %r3, %r4;",
            [0x8000_0000, 1, 1, 0],
            3,
        ),
        (
            "dp4a.s32.s32 %r6, %r2, %r3, %r4;",
            [0xff01_0203, 0x0101_0101, 10, 0],
            15,
        ),
        ("popc.b32 %r6, %r2;", [0xf0f0, 0, 0, 0], 8),
        ("clz.b32 %r6, %r2;", [1, 0, 0, 0], 31),
        ("brev.b32 %r6, %r2;", [1, 0, 0, 0], 1 << 31),
        ("bfind.shiftamt.u32 %r6, %r2;", [0x100, 0, 0, 0], 23),
    ];
    for (instruction, operands, expected) in cases {
        assert_eq!(
            made(instruction, operands),
            expected,
            "{instruction} {operands:?}"
        );
    }
}

#[test]
fn floats() {
    let nan = f32::NAN;
    let cases = [
        (
            "fma.rn.f32 %r6, %r2, %r3, %r4;",
            [
                bits(1.0 + f32::EPSILON),
                bits(1.0 - f32::EPSILON),
                bits(-1.0),
                0,
            ],
            bits(-f32::EPSILON * f32::EPSILON),
        ),
        // As `expf` rounds down to an integer and half of one.
        (
            "fma.rm.f32 %r6, %r2, %r3, %r4;",
            [bits(1.999), bits(1.0), bits(12_582_912.0), 0],
            bits(12_582_913.0),
        ),
        (
            "max.f32 %r6, %r2, %r3;",
            [bits(nan), bits(1.0), 0, 0],
            bits(1.0),
        ),
        (
            "copysign.f32 %r6, %r2, %r3;",
            [bits(-1.0), bits(3.0), 0, 0],
            bits(-3.0),
        ),
        ("cvt.rni.f32.f32 %r6, %r2;", [bits(2.5), 0, 0, 0], bits(2.0)),
        (
            "cvt.rzi.s32.f32 %r6, %r2;",
            [bits(-2.9), 0, 0, 0],
            (-2i32) as u32,
        ),
        ("cvt.rzi.u32.f32 %r6, %r2;", [bits(-2.9), 0, 0, 0], 0),
        ("cvt.sat.f32.f32 %r6, %r2;", [bits(nan), 0, 0, 0], 0),
        (
            "cvt.rn.f32.s32 %r6, %r2;",
            [(-3i32) as u32, 0, 0, 0],
            bits(-3.0),
        ),
        (
            "cvt.rn.f16x2.f32 %r6, %r2, %r3;",
            [bits(1.0), bits(-2.0), 0, 0],
            0x3c00_c000,
        ),
        (
            "cvt.rn.bf16x2.f32 %r6, %r2, %r3;",
            [bits(1.0), bits(1.003_906_3), 0, 0],
            0x3f80_3f80,
        ),
        (
            "ex2.approx.ftz.f32 %r6, %r2;",
            [bits(3.0), 0, 0, 0],
            bits(8.0),
        ),
        (
            "setp.ltu.f32 %p1, %r2, %r3;\nselp.b32 %r6, 1, 0, %p1;",
            [bits(nan), 0, 0, 0],
            1,
        ),
        (
            "setp.ne.f32 %p1, %r2, %r3;\nselp.b32 %r6, 1, 0, %p1;",
            [bits(nan), 0, 0, 0],
            0,
        ),
        (
            "setp.neu.f32 %p1, %r2, %r3;\nselp.b32 %r6, 1, 0, %p1;",
            [bits(nan), 0, 0, 0],
            1,
        ),
        (
            "mov.b32 {%h1, %h2}, %r2;\nmov.b32 %r6, {%h2, %h1};",
            [0x1234_5678, 0, 0, 0],
            0x5678_1234,
        ),
    ];
    for (instruction, operands, expected) in cases {
        assert_eq!(
            made(instruction, operands),
            expected,
            "{instruction} {operands:x?}"
        );
    }
}

#[test]
fn threads_of_a_warp_part_and_meet() {
    let body = "and.b32 %r2, %r1, 1;\nsetp.eq.s32 %p1, %r2, 0;\nmov.u32 %r3, 100;\n@%p1 bra $even;\nadd.s32 %r3, %r3, 1;\n\
                bra.uni $both;\n$even:\nadd.s32 %r3, %r3, 2;\n$both:\nadd.s32 %r3, %r3, %r1;\n\
                shfl.sync.bfly.b32 %r4|%p2, %r3, 1, 31, -1;\nst.global.u32 [%rd2], %r4;";
    let expected: Vec<u32> = (0..40)
        .map(|thread| {
            // Of a warp's last, of which there is no other, nothing is said.
            let other = thread ^ 1;
            100 + other + if other % 2 == 0 { 2 } else { 1 }
        })
        .collect();
    assert_eq!(words("", body, 40).expect("it runs"), expected);
}

#[test]
fn a_loop_of_another_length_each() {
    let body = "mov.u32 %r2, 0;\nmov.u32 %r3, 0;\n$again:\nsetp.gt.u32 %p1, %r2, %r1;\n@%p1 bra $end;\nadd.s32 %r3, %r3, %r2;\n\
                add.s32 %r2, %r2, 1;\nbra $again;\n$end:\nst.global.u32 [%rd2], %r3;";
    let expected: Vec<u32> = (0..32).map(|thread| thread * (thread + 1) / 2).collect();
    assert_eq!(words("", body, 32).expect("it runs"), expected);
}

/// Each thread writes a word, and reads that of another behind the line between.
fn exchanged(between: &str, distance: u32) -> Result<Vec<u32>, Fault> {
    let body = format!(
        "mov.u32 %r2, room;\nshl.b32 %r3, %r1, 2;\nadd.s32 %r3, %r2, %r3;\nst.shared.u32 [%r3], %r1;\n{between}\n\
         xor.b32 %r4, %r1, {distance};\nshl.b32 %r4, %r4, 2;\nadd.s32 %r4, %r2, %r4;\nld.shared.u32 %r5, [%r4];\n\
         st.global.u32 [%rd2], %r5;"
    );
    words("\t.shared .align 4 .b8 room[256];", &body, 64)
}

#[test]
fn a_missing_barrier_is_a_fault() {
    let expected: Vec<u32> = (0..64).map(|thread| thread ^ 32).collect();
    assert_eq!(exchanged("bar.sync 0;", 32).expect("it runs"), expected);
    let fault = exchanged("", 32).expect_err("warps race");
    assert!(
        fault.text.contains("without a barrier between"),
        "{}",
        fault.text
    );
    // Threads of a warp need not wait for the block, but for each other.
    assert!(exchanged("bar.warp.sync -1;", 1).is_ok());
    assert!(exchanged("", 1).is_err());
    assert!(exchanged("bar.warp.sync -1;", 32).is_err());
}

#[test]
fn what_a_card_leaves_undefined_is_a_fault() {
    let cases = [
        (
            "ld.global.u32 %r2, [%rd2+2];",
            FaultKind::Misaligned,
            "no multiple of 4",
        ),
        (
            "ld.global.v4.u32 {%r2, %r3, %r4, %r5}, [%rd1+4];",
            FaultKind::Misaligned,
            "no multiple of 16",
        ),
        (
            "ld.global.u32 %r2, [%rd1+256];",
            FaultKind::Address,
            "is nowhere",
        ),
        (
            "mov.u64 %rd3, 4096;\nst.global.u32 [%rd3], %r1;",
            FaultKind::Address,
            "is nowhere",
        ),
        (
            "setp.lt.u32 %p1, %r1, 7;\n@%p1 bar.sync 0;",
            FaultKind::Undefined,
            "waits for some",
        ),
        (
            "setp.lt.u32 %p1, %r1, 7;\n@!%p1 bra $on;\nbar.sync 0;\nbra $end;\n$on:\nbar.sync 0;\n$end:\nadd.s32 %r2, %r2, 1;",
            FaultKind::Undefined,
            "do not come",
        ),
        (
            "shfl.sync.idx.b32 %r2|%p1, %r1, 0, 31, 2;",
            FaultKind::Undefined,
            "waits for some",
        ),
        (
            "wgmma.fence.sync.aligned;",
            FaultKind::Undefined,
            "is not known",
        ),
    ];
    for (body, kind, text) in cases {
        let fault = words("", body, 64).expect_err(body);
        assert_eq!(fault.kind, kind, "{}", fault.text);
        assert!(fault.text.contains(text), "{}", fault.text);
    }
}

#[test]
fn those_who_end_are_not_waited_for() {
    let body = "setp.lt.u32 %p1, %r1, 7;\n@%p1 bra $wait;\nst.global.u32 [%rd2], %r1;\nret;\n$wait:\nbar.warp.sync -1;\n\
                st.global.u32 [%rd2], %r1;";
    assert_eq!(
        words("", body, 32).expect("it runs"),
        (0..32).collect::<Vec<_>>()
    );
}

#[test]
fn memory_that_was_given_back_is_nowhere() {
    let mut memory = Memory::new(FIRST, 1 << 20);
    let address = memory.take(128).expect("a megabyte is free");
    assert!(memory.give_back(address));
    assert!(!memory.give_back(address));
    let again = memory.take(128).expect("a megabyte is free");
    assert_ne!(again, address);
    let fault = launch(("", "st.global.u32 [%rd2], %r1;"), 1, address, &mut memory);
    assert_eq!(
        fault.expect_err("it was given back").kind,
        FaultKind::Address
    );
    assert!(
        memory.take(1 << 20).is_none(),
        "there is no more than a megabyte"
    );
}

/// A tile of `mma.m16n8k16` by elements: the fragments are those of the PTX ISA's figures.
#[test]
fn a_tile() {
    // Of a only element (3, 5) is not zero, of b only (5, 6): thread 14 has the first in the high half of its first
    // register, thread 26 the second.
    let body = "mov.u32 %r10, 0;\nmov.u32 %r11, 0;\nsetp.eq.s32 %p1, %r1, 14;\n@%p1 mov.u32 %r10, 0x40000000;\n\
                setp.eq.s32 %p2, %r1, 26;\n@%p2 mov.u32 %r11, 0x42000000;\nmov.u32 %r12, 0;\nmov.f32 %f1, 0f3F800000;\n\
                mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f2, %f3, %f4, %f5}, {%r10, %r12, %r12, %r12}, \
                {%r11, %r12}, {%f1, %f1, %f1, %f1};\nadd.f32 %f6, %f2, %f3;\nadd.f32 %f7, %f4, %f5;\n\
                add.f32 %f6, %f6, %f7;\nst.global.f32 [%rd2], %f6;";
    let sums = words("", body, 32).expect("it runs");
    // Row 3 and column 6 are thread 15's.
    for (thread, sum) in sums.iter().enumerate() {
        let expected: f32 = if thread == 15 { 4.0 + 2.0 * 3.0 } else { 4.0 };
        assert_eq!(*sum, expected.to_bits(), "thread {thread}");
    }
}
