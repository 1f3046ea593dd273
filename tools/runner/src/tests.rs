// SPDX-License-Identifier: MIT OR Apache-2.0
//! The runner against a QEMU of ours: a shell script that says prepared frames.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use vambrace_wire::message::{
    FromHypervisor, LogLevel, MAX_FRAME, ResetCause, TOLD_EXITS, ToHypervisor, VcpuActivity, VcpuReport,
    VmState, encode,
};

use super::*;
use crate::Exit;

/// Ends what hangs; nothing is judged by it.
const SOON: Duration = Duration::from_secs(1800);

fn frames(messages: &[FromHypervisor<'_>]) -> Vec<u8> {
    messages.iter().flat_map(|message| encode(message, &mut [0; MAX_FRAME]).unwrap().to_vec()).collect()
}

/// A configuration whose QEMU is `script`; `$1`, `$2`, ... are not used, `said` lies beside it as `said`.
fn config(folder: &Path, script: &str, said: &[u8]) -> Config {
    let path = folder.join("qemu");
    std::fs::write(folder.join("said"), said).unwrap();
    std::fs::write(&path, format!("#!/bin/sh\ncd {}\n{script}\n", folder.display())).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    Config {
        qemu: Qemu { path, version: (10, 0) },
        board: Board { cpu: "x".into(), cpus: 1, memory: 1 << 20, clock: Clock::Host, qemu_args: Vec::new() },
        boot: Boot::File("/nonexistent".into()),
        vms: vec!["a".into(), "b".into()],
        timeout: Some(SOON),
    }
}

fn two_vms(last: VmState) -> Vec<u8> {
    frames(&[
        FromHypervisor::Hello { cpus: 4, vms: 2 },
        FromHypervisor::State { vm: 0, state: VmState::Running },
        FromHypervisor::State { vm: 1, state: VmState::Running },
        FromHypervisor::Console { vm: 0, bytes: b"from a\r\n" },
        FromHypervisor::Console { vm: 1, bytes: b"from b\r\n" },
        FromHypervisor::Log { level: LogLevel::Warning, text: "b misbehaves" },
        FromHypervisor::State { vm: 0, state: VmState::Reset(1, ResetCause::Asked) },
        FromHypervisor::Report { vm: 1, text: "it jumped to nowhere" },
        FromHypervisor::State { vm: 0, state: VmState::Off },
        FromHypervisor::State { vm: 1, state: last },
        FromHypervisor::End,
    ])
}

#[test]
fn a_run_is_told_apart_by_vm() {
    let folder = tempfile::tempdir().unwrap();
    let said = [b"firmware\r\n".to_vec(), two_vms(VmState::Off)].concat();
    let outcome = run(&config(folder.path(), "cat said; echo qemu: hm >&2", &said)).unwrap();
    assert_eq!(outcome.summary.ending, Some(Ending::Complete));
    assert_eq!(outcome.exit(), Exit::Success);
    assert_eq!(outcome.summary.cpus, Some(4));
    assert_eq!(outcome.vm("a").unwrap().text(), "from a\r\n");
    assert_eq!(outcome.vm("a").unwrap().resets(), 1);
    assert_eq!(outcome.vm("b").unwrap().text(), "from b\r\n");
    assert_eq!(outcome.vm("b").unwrap().report, ["it jumped to nowhere"]);
    assert_eq!(outcome.log, [(LogLevel::Warning, "b misbehaves".to_owned())]);
    assert_eq!(outcome.raw, b"firmware\r\n");
    assert_eq!(outcome.qemu, ["qemu: hm"]);
}

#[test]
fn the_exit_code_tells_a_crash_a_vm_not_made_a_failure_a_break_and_a_timeout_apart() {
    let folder = tempfile::tempdir().unwrap();
    let end = |script: &str, said: &[u8], timeout: Duration| {
        let config = Config { timeout: Some(timeout), ..config(folder.path(), script, said) };
        let outcome = run(&config).unwrap();
        (outcome.summary.ending.unwrap(), outcome.exit())
    };
    assert_eq!(end("cat said", &two_vms(VmState::Crashed), SOON), (Ending::Complete, Exit::Crashed));
    assert_eq!(end("cat said", &two_vms(VmState::NotMade), SOON), (Ending::Complete, Exit::NotMade));
    let failed = [frames(&[FromHypervisor::Failed]), b"panicked\r\n".to_vec()].concat();
    assert_eq!(end("cat said", &failed, SOON), (Ending::Failed, Exit::Hypervisor));
    assert_eq!(end("exit 1", b"", SOON), (Ending::Broken(Some(1)), Exit::Hypervisor));
    assert_eq!(end("exec sleep 100", b"", Duration::from_millis(300)), (Ending::TimedOut, Exit::TimedOut));
}

#[test]
fn one_that_never_stops_talking_has_no_more_time() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "exec yes", b"");
    let outcome = run(&Config { timeout: Some(Duration::from_millis(300)), ..config }).unwrap();
    assert_eq!(outcome.summary.ending, Some(Ending::TimedOut));
}

#[test]
fn at_the_end_of_the_time_the_hypervisor_is_asked_what_its_vcpus_do() {
    let folder = tempfile::tempdir().unwrap();
    let question = encode(&ToHypervisor::Inspect, &mut [0; MAX_FRAME]).unwrap().to_vec();
    let vcpu = FromHypervisor::Vcpu(VcpuReport {
        vm: 1,
        vcpu: 0,
        cpu: 0,
        activity: VcpuActivity::Running,
        pc: 7,
        pstate: 5,
        vbar: 0,
        exits: [None; TOLD_EXITS],
    });
    std::fs::write(folder.path().join("answer"), frames(&[vcpu, FromHypervisor::Inspected { cpu: 0 }]))
        .unwrap();
    let script = format!("cat said; head -c {} > asked; cat answer; exec sleep 100", question.len());
    let said = frames(&[FromHypervisor::Hello { cpus: 1, vms: 2 }]);
    let config =
        Config { timeout: Some(Duration::from_millis(300)), ..config(folder.path(), &script, &said) };
    let outcome = run(&config).unwrap();
    assert_eq!(outcome.summary.ending, Some(Ending::TimedOut));
    assert_eq!(outcome.vcpus.iter().map(|report| (report.vm, report.pc)).collect::<Vec<_>>(), [(1, 7)]);
    assert_eq!(std::fs::read(folder.path().join("asked")).unwrap(), question);
}

#[test]
fn keys_arrive_and_words_are_waited_for_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let said = frames(&[
        FromHypervisor::State { vm: 1, state: VmState::Running },
        FromHypervisor::Console { vm: 1, bytes: b"login: one login: two" },
    ]);
    let input = ToHypervisor::Input { vm: 1, position: 0, bytes: b"q" };
    let expected = encode(&input, &mut [0; MAX_FRAME]).unwrap().to_vec();
    let script = format!("cat said; head -c {} > typed; cat said", expected.len());
    let config = config(folder.path(), &script, &said);
    let mut running = Running::start(&config).unwrap();
    running.wait_for(1, "login: ", SOON).unwrap();
    running.wait_for(1, "login: ", SOON).unwrap();
    running.send(1, "q");
    running.wait_for(1, "one", SOON).unwrap();
    let error = running.wait_for(1, "never", SOON).unwrap_err();
    assert!(matches!(error, WaitError::Ended { ending: Ending::Broken(Some(0)), .. }), "{error:?}");
    let typed = std::fs::read(folder.path().join("typed")).unwrap();
    assert_eq!(typed, expected);
}

#[test]
fn what_does_not_come_is_told_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let mut running = Running::start(&config(folder.path(), "exec sleep 100", b"")).unwrap();
    let error = running.wait_for(0, "x", Duration::from_millis(50)).unwrap_err();
    assert!(matches!(error, WaitError::TooLate { .. }), "{error:?}");
    assert_eq!(running.stop().summary.ending, Some(Ending::Stopped));
}

#[test]
fn the_process_is_gone_when_the_session_is() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), "echo $$ > pid; echo up; exec sleep 100", b"");
    let mut running = Running::start(&config).unwrap();
    running.wait_for_outcome("up", SOON, |outcome| outcome.raw == b"up\n").unwrap();
    let pid = std::fs::read_to_string(folder.path().join("pid")).unwrap();
    let process = Path::new("/proc").join(pid.trim());
    assert!(process.exists());
    drop(running);
    assert!(!process.exists());
}

#[test]
fn a_kernel_alone_gets_its_own_command_line_and_speaks_in_plain_text() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path(), "echo \"$@\"", b"");
    config.boot = Boot::Kernel { image: b"kernel".to_vec(), cmdline: "native rounds=3".into() };
    config.vms.clear();
    let outcome = run(&config).unwrap();
    let said = String::from_utf8_lossy(&outcome.raw).into_owned();
    assert!(said.contains("-append native rounds=3 -kernel "), "{said}");
    assert!(!said.contains("-initrd") && !said.contains("vambrace.wire"), "{said}");
    assert_eq!(outcome.summary.ending, Some(Ending::Broken(Some(0))));
}

#[test]
fn memory_is_loaded_part_by_part_and_the_cpu_starts_in_one_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path(), "echo \"$@\"", b"");
    let parts = vec![(0x4000_0000, b"tree".to_vec()), (0x4020_0000, b"kernel".to_vec())];
    config.boot = Boot::Memory { parts, start: 0x4020_0000 };
    config.vms.clear();
    let said = String::from_utf8_lossy(&run(&config).unwrap().raw).into_owned();
    assert!(said.contains("part-0.img,addr=0x40000000,force-raw=on -device loader,"), "{said}");
    assert!(said.trim_end().ends_with("part-1.img,addr=0x40200000,force-raw=on,cpu-num=0"), "{said}");
    assert!(!said.contains("-kernel"), "{said}");
}
