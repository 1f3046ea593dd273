// SPDX-License-Identifier: MIT OR Apache-2.0
//! Registers' values as machines show them, and names as people say them.

use super::*;
use crate::registers::all;

fn explain(name: &str, value: u64) -> Explanation {
    Explanation::new(&find(name).unwrap(), value)
}

fn field(explanation: &Explanation, name: &str) -> String {
    explanation.fields.iter().find(|field| field.name == name).unwrap().words.clone()
}

#[track_caller]
fn says(explanation: &Explanation, wanted: &str) {
    let text = explanation.remarks.join("\n");
    assert!(text.contains(wanted), "{wanted:?} is not in:\n{text}");
}

#[track_caller]
fn is_wrong(name: &str, value: u64, wanted: &str) {
    let text = explain(name, value).wrong.join("\n");
    assert!(text.contains(wanted), "{wanted:?} is not in:\n{text}");
}

#[test]
fn the_text_of_a_data_abort() {
    let text = anstream::adapter::strip_str(&explain("esr", 0x93C0_8006).text()).to_string();
    assert_eq!(
        text,
        "\
ESR_ELx = 0x0000000093c08006
Exception Syndrome Register: why an exception was taken

   bits  field  value  meaning
  31:26  EC        36  data abort from a lower exception level
     25  IL         1  the instruction has 32 bits, or none is to blame
     24  ISV        1  the fields about the instruction are valid
  23:22  SAS        3  8 bytes
     21  SSE        0  not sign-extended
  20:16  SRT        0  X0
     15  SF         1  a 64-bit register
     14  AR         0  no acquire or release
  12:11  SET        0  recoverable, or not an external abort
      6  WnR        0  a read
    5:0  DFSC       6  translation fault, level 2
         0, asking for nothing: HDBSSF, TnD, TagAccess, GCS, AssuredOnly, Overlay, DirtyBit, Xs, VNCR, FnV,
         EA, CM, S1PTW

  data abort from a lower exception level: translation fault, level 2, read of 8 bytes
  the instruction loads 8 bytes into X0
"
    );
}

#[test]
fn syndromes_by_class() {
    for (esr, wanted) in [
        // A kernel's own NULL pointer: a store, translation fault at level 3.
        (0x9600_0047, "data abort from the same exception level: translation fault, level 3, write"),
        (0x9600_0047, "without ISV"),
        // STRB W3, at a device.
        (0x9203_0047 | 1 << 24, "the instruction stores 1 byte of W3"),
        (0x93E9_8007, "the instruction loads 8 bytes into X9, sign-extended"),
        (0x9200_0087, "stage 2 refused one of stage 1's tables"),
        (0x5A00_0000, "HVC #0x0"),
        (0x5E00_0017, "SMC #0x17"),
        (0x5600_0000, "SVC #0x0"),
        (0xF200_0800, "BRK #0x800"),
        (0x622C_1A6A | 1, "the instruction is MRS X19"),
        (0x6234_002F, "the instruction is MRS X1, ID_AA64MMFR2_EL1"),
        (0x623A_3256, "the instruction is MSR ICC_SGI1R_EL1, X18"),
        (0x0600_0000, "WFI trapped"),
        (0x1FE0_0000, "SIMD or floating-point"),
        (0x8A00_0000, "misaligned PC"),
        (0x8200_0007, "instruction abort from a lower exception level: translation fault, level 3"),
        (0xBE00_0011, "SError"),
        (0xFC00_0000, "unknown class 0x3f"),
    ] {
        says(&explain("ESR_EL2", esr), wanted);
    }
    let float = explain("esr", 0x1FE0_0000);
    assert_eq!(field(&float, "COND"), "the condition of an AArch32 instruction; 14 is always");
    assert_eq!(field(&explain("esr", 0xBE00_0C11), "AET"), "recoverable");
    assert_eq!(field(&explain("esr", 0xFC00_0000), "EC"), "unallocated, or newer than this program");
}

#[test]
fn a_hypervisors_controls() {
    let hcr = explain("hcr", 0x8000_0039);
    says(&hcr, "a VM runs at EL1 and EL0, behind stage 2");
    says(&hcr, "all interrupts and SErrors come to EL2");
    assert!(hcr.wrong.is_empty());
    says(&explain("hcr", 1 << 34 | 1 << 27), "no VM");
    is_wrong("hcr", 1 << 7, "VI has no effect");
    is_wrong("hcr", 1 << 45, "without NV");

    let vttbr = explain("VTTBR_EL2", 0x0005_0000_BFFE_2000);
    says(&vttbr, "VMID 5, root table at 0xbffe2000");
    says(&vttbr, "up to 2 concatenated root tables");
    assert_eq!(explain("cptr", 0x33FF).wrong, Vec::<String>::new());
    is_wrong("cptr", 0x23FF & !(1 << 9), "bit 9 is clear, but RES1");
}

#[test]
fn the_shape_of_stage_2() {
    for (vtcr, wanted) in [
        // 40 bits from level 1, as KVM has it: two tables side by side.
        (0x8002_3558, "the IPA space has 40 bits: 0 to 0xffffffffff"),
        (0x8002_3558, "the walk starts at level 1, with 4KiB tables"),
        (0x8002_3558, "2 concatenated root tables, 8KiB in one piece"),
        // 31 bits from level 2 or level 1, 39 bits from level 1.
        (0x8000_3521, "the walk starts at level 2"),
        (0x8000_3561, "1 root table of 2 entries, aligned to 64 bytes"),
        (0x8002_3559, "1 root table of 512 entries, aligned to 4KiB"),
        // 48 bits from level 0; 40 bits from there could be shallower.
        (0x8005_3590, "1 root table of 512 entries"),
        (0x8002_3598, "2 concatenated tables at level 1 would do as well"),
        // 64 KiB tables, 42 and 46 bits from level 2; 16 KiB tables, 40 bits from level 2.
        (0x8003_7556, "the walk starts at level 2, with 64KiB tables"),
        (0x8003_7552, "16 concatenated root tables, 1MiB in one piece"),
        (0x8002_B558, "16 concatenated root tables, 256KiB in one piece"),
        // LPA2: 52 bits from level -1.
        (0x8006_350C | 1 << 32 | 1 << 33, "the walk starts at level -1"),
    ] {
        says(&explain("vtcr", vtcr), wanted);
    }
}

#[test]
fn shapes_that_stage_2_cannot_have() {
    for (vtcr, wanted) in [
        // 48 bits from level 1 would take 512 root tables; 29 bits from there less than one entry.
        (
            0x8005_3550,
            "48 bits of IPA are too many for a walk of 4KiB tables from level 1: that takes 31 to 43",
        ),
        (0x8005_3563, "29 bits of IPA are too few"),
        (0x8005_F550, "TG0 = 3 is reserved"),
        (0x8005_75D0, "SL0 = 3 is reserved"),
        (0x8000_3558, "larger than the 32 bits of physical address"),
        (0x8005_3584, "asks for 60 bits of IPA"),
        (0x8045_3558, "HD has no effect without HA"),
        (0x0002_3558, "bit 31 is clear, but RES1"),
        (0x8012_3558, "bit 20 is set, but RES0"),
        (0x8192_3558, "bits 24:23 and 20 are set"),
        (0x2_8002_3558, "SL2 is RES0 without DS"),
    ] {
        is_wrong("vtcr", vtcr, wanted);
    }
    assert_eq!(explain("vtcr", 0x8002_3558).wrong, Vec::<String>::new());
}

/// What the hypervisor itself writes must be legal, and read back as what it meant.
#[test]
fn the_hypervisors_own_vtcr_is_legal() {
    use vambrace_memory::stage2::Geometry;
    use vambrace_memory::vmid::VmidWidth;
    for (pa_bits, bits) in [32, 36, 40, 44, 48].into_iter().flat_map(|pa| (25..=pa).map(move |ipa| (pa, ipa)))
    {
        let geometry = Geometry::for_machine(pa_bits, bits).unwrap();
        let explanation = explain("vtcr", geometry.vtcr(VmidWidth::Sixteen));
        assert_eq!(explanation.wrong, Vec::<String>::new(), "{geometry:?}");
        says(&explanation, &format!("the IPA space has {} bits", geometry.ipa_bits()));
        says(&explanation, &format!("starts at level {}", geometry.start().number()));
        if geometry.root_tables() > 1 {
            says(&explanation, &format!("{} concatenated root tables", geometry.root_tables()));
        }
    }
}

#[test]
fn stage_1_as_linux_sets_it_up() {
    let tcr = explain("tcr_el1", 0x0050_0003_F551_3510 | 5 << 32);
    says(&tcr, "the lower space has 48 bits: 0 to 0xffffffffffff");
    says(&tcr, "the upper space has 47 bits: 0xffff800000000000 to 0xffffffffffffffff");
    assert_eq!(field(&tcr, "IPS"), "56 bits, 64 PiB");
    is_wrong("tcr_el1", 3 << 14, "TG0 has a reserved value");
    is_wrong("tcr_el2", 0x8080_0000, "the whole space would have 64 bits");

    let mair = explain("mair", 0x0000_0004_44FF_0C00 | 0xBB << 40);
    for (name, words) in [
        ("Attr0", "Device-nGnRnE"),
        ("Attr1", "Device-GRE"),
        ("Attr2", "Normal Write-Back, read- and write-allocate"),
        ("Attr3", "Normal Non-cacheable"),
        ("Attr4", "Device-nGnRE"),
        ("Attr5", "Normal Write-Through, read- and write-allocate"),
    ] {
        assert_eq!(field(&mair, name), words, "{name}");
    }
    is_wrong("mair", 0x50, "Attr0 is an encoding that the architecture leaves UNPREDICTABLE");
    assert_eq!(
        field(&explain("mair", 0x4F), "Attr0"),
        "Normal, inner Write-Back, read- and write-allocate, outer Non-cacheable"
    );

    says(&explain("sctlr_el1", 0x30D0_0800), "with the MMU off");
    assert_eq!(explain("sctlr_el2", 0x30C5_0830).wrong, Vec::<String>::new());
    is_wrong("sctlr_el2", 0x30C5_0820, "bit 4 is clear, but RES1");
}

#[test]
fn the_rest_of_the_registers() {
    says(&explain("par", 0xFF00_0000_4123_4B80), "found: the page at PA 0x41234000, Normal Write-Back");
    says(&explain("par", 0x80F), "no translation: translation fault, level 3, of stage 1");
    says(&explain("par", 0xB0F), "of stage 2, on the walk of stage 1's tables");
    is_wrong("par", 0x90F, "only stage 2 refuses");
    says(&explain("hpfar", 0x9_0000), "the page at IPA 0x9000000");
    assert_eq!(field(&explain("spsr_el2", 0x3C5), "M"), "EL1, AArch64, with SP_EL1");
    is_wrong("spsr", 0x3C7, "M is no mode");
    assert_eq!(field(&explain("spsr", 0x6000_0010), "M"), "User");
    says(&explain("mpidr", 0x1_8000_0203), "the affinity is 1.0.2.3");
    says(&explain("id_aa64mmfr0_el1", 0x1124), "granules of stage 1: 4 KiB, 64 KiB");
    says(&explain("id_aa64mmfr0", 0x0111_0000_1122), "granules of stage 2: none");
    assert_eq!(field(&explain("ctr", 0x8444_C004), "DminLine"), "64 bytes");
    let list_register = explain("ich_lr3_el2", 0x70A0_001B_0000_001B);
    says(&list_register, "the guest sees INTID 27, a PPI");
    assert_eq!(list_register.fields.iter().find(|field| field.name == "pINTID").unwrap().value, 27);
    is_wrong("ich_lr", 0xF0A0_001B_0000_001B, "pending and active");
    assert_eq!(field(&explain("ich_vtr", 0x9018_0003), "ListRegs"), "4");
    assert_eq!(field(&explain("ich_vmcr", 2), "VENG1"), "group 1 is enabled");
    assert_eq!(field(&explain("cnthctl", 0), "EL1PCEN"), "accesses to the physical timer trap");
}

#[test]
fn names_as_people_say_them() {
    for (said, name) in [
        ("esr", "ESR_ELx"),
        ("ESR_EL1", "ESR_EL1"),
        ("Hcr", "HCR_EL2"),
        ("ttbr0_el1", "TTBR0_EL1"),
        ("ttbr1", "TTBR1_EL1"),
        ("ctr", "CTR_EL0"),
        ("par-el1", "PAR_EL1"),
        ("ich_lr15_el2", "ICH_LR_EL2"),
        ("id_aa64pfr0", "ID_AA64PFR0_EL1"),
    ] {
        assert_eq!(find(said).map(|found| found.name()), Ok(name.to_owned()), "{said}");
    }
    for register in all() {
        for name in register.names {
            assert_eq!(find(name).map(|found| found.name()), Ok((*name).to_owned()));
        }
    }
}

#[test]
fn names_that_mean_nothing_or_two_things() {
    for (said, words) in [
        ("hrc", "did you mean HCR"),
        ("hcr_el1", "did you mean HCR_EL2?"),
        ("vtcr_el3", "did you mean VTCR_EL2?"),
        ("tcr", "`tcr` is not enough: TCR_EL1 and TCR_EL2 have different layouts"),
        ("SCTLR", "SCTLR_EL1 and SCTLR_EL2"),
        ("frobnicate", "there is no register `frobnicate` here\n`vambrace explain registers` lists"),
        ("", "there is no register ``"),
    ] {
        let error = find(said).unwrap_err().to_string();
        assert!(error.contains(words), "{said}: {error}");
    }
}

#[test]
fn reserved_bits_are_told_as_ranges() {
    assert_eq!(ranges(1), "bit 0 is");
    assert_eq!(ranges(u64::MAX), "bits 63:0 are");
    assert_eq!(ranges(0b1010), "bits 3 and 1 are");
    assert_eq!(ranges(1 << 63 | 0b111 << 20 | 1), "bits 63, 22:20 and 0 are");
}
