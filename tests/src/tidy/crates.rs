//! Which crate may know which.

/// What each package may import of the others, development dependencies included.
pub const ARROWS: &[(&str, &[&str])] = &[
    ("proto", &[]),
    ("broker", &["laneway-proto"]),
    ("client", &["laneway-proto"]),
    ("bench", &["laneway-proto", "laneway-client", "laneway-broker"]),
    ("tests", &["laneway-proto", "laneway-client", "laneway-broker", "laneway-bench"]),
];

/// Packages of this workspace that a manifest names as dependencies but may not.
pub fn wrong_arrows(folder: &str, manifest: &str, allowed: &[&str]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut in_dependencies = false;
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            in_dependencies = line.contains("dependencies");
            let table = line.trim_matches(['[', ']']).rsplit('.').next().unwrap_or_default();
            problems.extend(refuse(folder, table, in_dependencies, allowed));
        } else {
            let name = line.split(['=', '.', ' ']).next().unwrap_or_default();
            problems.extend(refuse(folder, name, in_dependencies, allowed));
        }
    }
    problems
}

fn refuse(folder: &str, name: &str, in_dependencies: bool, allowed: &[&str]) -> Option<String> {
    let wrong = in_dependencies && name.starts_with("laneway-") && !allowed.contains(&name);
    wrong.then(|| format!("{folder}/Cargo.toml: may not depend on {name}"))
}

/// Packages of a dependency tree (as `cargo tree --prefix none` prints it) that are in `forbidden`.
pub fn forbidden_packages(tree: &str, forbidden: &[&str]) -> Vec<String> {
    let names = tree.lines().filter_map(|line| line.split_whitespace().next());
    let mut found: Vec<String> = names.filter(|name| forbidden.contains(name)).map(str::to_owned).collect();
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_against_the_arrows_is_found_in_every_spelling() {
        for manifest in [
            "[dependencies]\nlaneway-broker.workspace = true\n",
            "[dependencies]\nlaneway-broker = { path = \"../broker\" }\n",
            "[dev-dependencies]\nlaneway-broker = \"1\"\n",
            "[target.'cfg(unix)'.dependencies.laneway-broker]\npath = \"../broker\"\n",
        ] {
            assert_eq!(wrong_arrows("client", manifest, &["laneway-proto"]).len(), 1, "{manifest}");
        }
        let good = "[package]\nname = \"laneway-client\"\n[dependencies]\nlaneway-proto.workspace = true\n";
        assert_eq!(wrong_arrows("client", good, &["laneway-proto"]), [""; 0]);
    }

    #[test]
    fn a_forbidden_package_is_found_anywhere_in_a_tree() {
        let tree = "laneway-broker v0.1.0 (/x)\nlibc v0.2.1\ntokio v1.54.1\n  tokio v1.54.1 (*)\n";
        assert_eq!(forbidden_packages(tree, &["tokio", "laneway-tests"]), ["tokio"]);
        assert_eq!(forbidden_packages("tokio-util v1.0.0\n", &["tokio"]), [""; 0]);
    }
}
