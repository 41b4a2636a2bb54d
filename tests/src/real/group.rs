//! Processes of a group that still live, and what each of them waits for.

use std::fs;
use std::path::Path;

/// Bytes of a command line that are shown.
const COMMAND_BYTES_MAX: usize = 200;

/// Numbers of the living processes of a group.
pub fn members(group: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").expect("Linux").filter_map(Result::ok);
    let numbers = processes.filter_map(|process| process.file_name().to_str()?.parse().ok());
    let of_group = numbers.filter(|&process| {
        // Number (name) state parent group ...
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split_whitespace().collect();
        let alive = fields.first().is_some_and(|state| !matches!(*state, "Z" | "X"));
        alive && fields.get(2).is_some_and(|of| of.parse() == Ok(group))
    });
    of_group.collect()
}

/// A process in one line: its number and command, and each thread's name, state and the place in the kernel where it
/// sleeps.
pub fn describe(process: u32) -> String {
    let directory = format!("/proc/{process}");
    let command = fs::read(format!("{directory}/cmdline")).unwrap_or_default();
    let command = String::from_utf8_lossy(&command[..command.len().min(COMMAND_BYTES_MAX)]).replace('\0', " ");
    let threads = fs::read_dir(format!("{directory}/task")).into_iter().flatten().filter_map(Result::ok);
    let mut threads: Vec<String> = threads.map(|thread| describe_thread(&thread.path())).collect();
    threads.sort();
    format!("process {process} '{}': {}", command.trim_end(), threads.join(", "))
}

fn describe_thread(directory: &Path) -> String {
    let read = |name: &str| fs::read_to_string(directory.join(name)).unwrap_or_default();
    let stat = read("stat");
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()).unwrap_or('?');
    format!("{} {state} in {}", read("comm").trim_end(), read("wchan"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;
    use std::process::Command;

    use super::*;

    #[test]
    fn who_is_left_of_a_group_is_named_with_its_command_and_what_it_does() {
        let mut command = Command::new("sleep");
        let mut child = command.arg("600").process_group(0).spawn().expect("sleep runs");
        let group = child.id();
        assert_eq!(members(group), [group]);
        // It may not have become `sleep` yet: until then it has no command line.
        let mut text = describe(group);
        while text.contains(" '': ") {
            std::thread::yield_now();
            text = describe(group);
        }
        child.kill().expect("our child");
        assert!(text.starts_with(&format!("process {group} 'sleep 600': sleep ")), "{text}");
        // It is dead, and not waited for yet.
        while !members(group).is_empty() {
            std::thread::yield_now();
        }
        child.wait().expect("our child");
        assert_eq!(describe(group), format!("process {group} '': "));
    }
}
