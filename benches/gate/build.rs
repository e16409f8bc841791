//! Tells the binary which compiler built it, for the baseline: another compiler gives other counts.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=RUSTC");
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let version = Command::new(variable("RUSTC")).arg("--version").output();
    let rustc = match version {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        _ => "an unknown rustc".to_owned(),
    };
    println!("cargo::rustc-env=NEWIM_GATE_RUSTC={rustc}");
    println!("cargo::rustc-env=NEWIM_GATE_TARGET={}", variable("TARGET"));
    println!(
        "cargo::rustc-env=NEWIM_GATE_OPT_LEVEL={}",
        variable("OPT_LEVEL")
    );
}
