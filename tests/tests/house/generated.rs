//! Generated code is checked in; here it is generated again and compared.

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The prost types of `schema` (a `.proto` file in `folder`), as text.
fn generate(folder: &Path, schema: &str) -> String {
    let descriptors = protox::compile([schema], [folder]).expect("the schema compiles");
    let out = std::env::temp_dir().join(format!("laneway-generated-{}-{schema}", std::process::id()));
    std::fs::create_dir_all(&out).expect("a directory for the generated code");
    let mut config = prost_build::Config::new();
    config.btree_map(["."]).out_dir(&out);
    config.compile_fds(descriptors).expect("the schema generates");
    let code = std::fs::read_to_string(out.join("laneway.v1.rs")).expect("prost writes one file per package");
    std::fs::remove_dir_all(&out).expect("the directory is ours");
    code
}

#[test]
fn the_generated_control_code_is_current() {
    let generated = generate(&root().join("proto/schema"), "laneway.proto");
    let path = root().join("proto/src/control/laneway_v1.rs");
    let checked_in = std::fs::read_to_string(&path).expect("the generated code is checked in");
    let differs = generated.lines().zip(checked_in.lines()).position(|(new, old)| new != old);
    assert!(
        generated == checked_in,
        "{} differs from what proto/schema/laneway.proto generates, first at line {:?}; write the new text there",
        path.display(),
        differs.map(|line| line + 1)
    );
}

#[test]
fn a_changed_schema_is_noticed() {
    let folder = std::env::temp_dir().join(format!("laneway-schema-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a directory for the changed schema");
    let schema = std::fs::read_to_string(root().join("proto/schema/laneway.proto")).expect("the schema");
    let changed = schema.replacen("uint32 version_min = 1;", "uint64 version_min = 1;", 1);
    std::fs::write(folder.join("changed.proto"), &changed).expect("the changed schema");
    let generated = generate(&folder, "changed.proto");
    std::fs::remove_dir_all(&folder).expect("the directory is ours");
    let checked_in = std::fs::read_to_string(root().join("proto/src/control/laneway_v1.rs")).expect("checked in");
    assert_ne!(schema, changed, "the sample changes something");
    assert_ne!(generated, checked_in);
}
