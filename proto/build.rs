//! Compiles schema/im.proto to Rust, without a system protoc.

fn main() {
    println!("cargo:rerun-if-changed=schema/im.proto");
    let files = protox::compile(["schema/im.proto"], ["schema"]).expect("schema/im.proto is valid");
    prost_build::Config::new()
        .compile_fds(files)
        .expect("the generated code can be written to OUT_DIR");
}
