// SPDX-License-Identifier: MIT OR Apache-2.0
//! What docs/recipes.md promises, by the manifests that stand there. What needs no typing is with the documents' commands.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Instant;

use vambrace_manifest::workspace;
use vambrace_runner::Exit;
use vambrace_tests::{Bench, Case, Failed, Need, PATIENCE, Scenario, Verdict, documents, ensure};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("recipes::shared_memory_from_linux", shared).needs(Need::Linux("6.12")),
        Case::new("recipes::a_port_from_the_computer", port).needs(Need::Linux("6.12")),
        Case::new("recipes::a_debugger", debugger),
        Case::new("recipes::a_disk_that_stays", disk).needs(Need::Linux("6.12")),
    ]
}

fn manifest(name: &str) -> Result<String, Failed> {
    let text = std::fs::read_to_string(workspace().join("docs/recipes.md"))?;
    let block = documents::block(&text, "toml", &format!("# {name}\n"));
    block.map(str::to_owned).ok_or_else(|| format!("docs/recipes.md has no {name}").into())
}

/// A port of this computer that nobody has now.
fn free_port() -> Result<u16, Failed> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn shared(bench: &Bench) -> Verdict {
    let mut live = bench.start(&Scenario::new(manifest("shared.toml")?).with_shells())?;
    for (vm, name) in [(0, "one"), (1, "two")] {
        live.wait_for(vm, &format!("A shell on {name}"))?;
    }
    live.ask(0, "ls -d /proc/device-tree/channel@*", "/channel@20000000")?;
    live.ask(0, "devmem 0x20000000 32 0x600dcafe && devmem 0x0b000014 32 2 && echo do''ne", "done")?;
    live.ask(1, "devmem 0x20000000 32", "0x600DCAFE")?;
    live.ask(1, "echo cause $(($(devmem 0x0b000018 32) & 1))", "cause 1")?;
    for vm in 0..2 {
        live.send(vm, "poweroff\n");
    }
    live.finish().exits(Exit::Success)
}

/// Two runs, with the disk's file beside the manifest.
fn disk(bench: &Bench) -> Verdict {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("disk.toml");
    std::fs::write(&path, manifest("disk.toml")?)?;
    let first = "mke2fs -q /dev/vda; mkdir -p /mnt; mount -t ext4 /dev/vda /mnt; echo kept > /mnt/word; umount /mnt; poweroff";
    let second = "mkdir -p /mnt; mount -t ext4 /dev/vda /mnt; cat /mnt/word";
    let document = std::fs::read_to_string(workspace().join("docs/recipes.md"))?;
    for typed in [first, second] {
        ensure(document.contains(&format!("```text\n{typed}\n```")), || {
            format!("the recipe is not: {typed}")
        })?;
    }
    let start = || {
        let mut live = bench.start(&Scenario::of_file(&path)?.with_shells())?;
        live.wait_for(0, "A shell on keeper").map(|()| live)
    };
    let mut live = start()?;
    live.send(0, &format!("{first}\n"));
    live.finish().exits(Exit::Success)?;
    let mut live = start()?;
    live.ask(0, second, "kept")?;
    live.send(0, "poweroff\n");
    live.finish().exits(Exit::Success)
}

/// Connects until somebody answers: while nobody listens in the VM, QEMU takes the connection and closes it.
fn port(bench: &Bench) -> Verdict {
    let port = free_port()?;
    let manifest = manifest("port.toml")?.replace("8080:80", &format!("{port}:80"));
    let mut live = bench.start(&Scenario::new(manifest).with_shells())?;
    live.wait_for(0, "A shell on web")?;
    live.send(0, "while echo hel''lo | nc -l -p 80; do :; done\n");
    let deadline = Instant::now() + PATIENCE;
    let mut said = String::new();
    while said != "hello\n" {
        ensure(Instant::now() < deadline, || format!("the VM says {said:?}"))?;
        said.clear();
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        // It ends with the connection, or breaks off with it.
        let _ = stream.read_to_string(&mut said);
    }
    drop(live);
    Ok(())
}

/// The debugger's remote protocol: why does the board stand still, and go on.
fn debugger(bench: &Bench) -> Verdict {
    let port = free_port()?;
    let gdb = format!("--qemu-arg=tcp:127.0.0.1:{port}");
    let run = ["run", "manifests/hello.toml", "--qemu-arg=-gdb", gdb.as_str(), "--qemu-arg=-S"];
    let running = bench.vambrace(&run)?;
    let deadline = Instant::now() + PATIENCE;
    let mut stream = loop {
        match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
            Ok(stream) => break stream,
            Err(error) => ensure(Instant::now() < deadline, || error.to_string())?,
        }
        std::thread::yield_now();
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"+$?#3f")?;
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"#") {
        stream.read_exact(&mut byte)?;
        answer.extend(byte);
    }
    let answer = String::from_utf8_lossy(&answer).into_owned();
    ensure(answer.contains("$T"), || format!("QEMU answers {answer:?}"))?;
    stream.write_all(b"+$c#63")?;
    let finished = running.finish(PATIENCE)?;
    finished.exits_with(0)?.says("guest: hello from EL1").map(drop)
}
