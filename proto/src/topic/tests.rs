use super::*;
use alloc::string::String;
use alloc::vec::Vec;

#[test]
fn filters_match_as_mqtt_defines() {
    for (filter, name, expected) in [
        ("a/b", "a/b", true),
        ("a/b", "a/c", false),
        ("a/b", "a/b/c", false),
        ("a/+", "a/b", true),
        ("a/+", "a", false),
        ("a/+", "a/", true),
        ("a/+", "a/b/c", false),
        ("+/+", "/finance", true),
        ("/+", "/finance", true),
        ("+", "/finance", false),
        ("a/#", "a", true),
        ("a/#", "a/b/c", true),
        ("a/#", "ab", false),
        ("#", "a/b", true),
        ("#", "$sys/x", false),
        ("+/x", "$sys/x", false),
        ("$sys/#", "$sys/x", true),
        ("$sys/+", "$sys/x", true),
        ("a/+/c", "a//c", true),
        ("+/b/#", "a/b", true),
    ] {
        assert_eq!(matches(filter, name), expected, "{filter} against {name}");
    }
}

#[test]
fn names_and_filters_are_refused_for_the_stated_reason() {
    let long = String::from_utf8(alloc::vec![b'a'; 256]).expect("ascii");
    assert_eq!(check_name(""), Err(TopicError::Empty));
    assert_eq!(check_name(&long), Err(TopicError::TooLong));
    assert_eq!(check_name(&long[..255]), Ok(()));
    assert_eq!(check_name("a\0b"), Err(TopicError::Nul));
    assert_eq!(check_name("a/+"), Err(TopicError::WildcardInName));
    assert_eq!(check_publish("$sys/x"), Err(TopicError::Reserved));
    assert_eq!(check_filter("a/b+"), Err(TopicError::WildcardNotAlone));
    assert_eq!(check_filter("a/b#"), Err(TopicError::WildcardNotAlone));
    assert_eq!(check_filter("a/#/b"), Err(TopicError::TailNotLast));
    assert_eq!(check_filter("a/+/#"), Ok(()));
    assert_eq!(check_filter("+"), Ok(()));
}

/// The textbook definition, by recursion over level lists.
fn naive(filter: &[&str], name: &[&str]) -> bool {
    match (filter, name) {
        (["#"], _) => true,
        ([], []) => true,
        (["+", filter @ ..], [_, name @ ..]) => naive(filter, name),
        ([wanted, filter @ ..], [level, name @ ..]) => wanted == level && naive(filter, name),
        ([], [_, ..]) | ([_, ..], []) => false,
    }
}

#[test]
fn the_matcher_agrees_with_the_naive_one_on_every_small_pair() {
    let mut names: Vec<String> = alloc::vec![String::new()];
    for _ in 0..4 {
        let mut longer = Vec::new();
        for name in &names {
            for tail in ["a", "b", "/", "$"] {
                longer.push(alloc::format!("{name}{tail}"));
            }
        }
        names.extend(longer);
    }
    let filters: Vec<String> = names.iter().map(|name| name.replace('b', "+").replace('$', "#")).collect();
    let mut pairs = 0;
    for filter in filters.iter().filter(|filter| check_filter(filter).is_ok()) {
        for name in names.iter().filter(|name| check_name(name).is_ok()) {
            let levels: Vec<&str> = name.split('/').collect();
            let wanted: Vec<&str> = filter.split('/').collect();
            let expected = naive(&wanted, &levels) && (filter.starts_with('$') || !name.starts_with('$'));
            assert_eq!(matches(filter, name), expected, "{filter} against {name}");
            pairs += 1;
        }
    }
    assert!(pairs > 10_000, "the table was not empty: {pairs}");
}
