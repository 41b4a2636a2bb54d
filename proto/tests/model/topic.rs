//! The topic grammar and the matcher, by recursion over lists of levels.

use laneway_proto::topic;

/// Whether `name` is a valid topic name.
pub fn name_is_valid(name: &str) -> bool {
    (1..=255).contains(&name.len()) && !name.contains(['\0', '+', '#'])
}

/// Whether `filter` is a valid filter.
pub fn filter_is_valid(filter: &str) -> bool {
    let levels: Vec<&str> = filter.split('/').collect();
    let alone = levels.iter().all(|level| matches!(*level, "+" | "#") || !level.contains(['+', '#']));
    let tail_last = levels.iter().rev().skip(1).all(|level| *level != "#");
    (1..=255).contains(&filter.len()) && !filter.contains('\0') && alone && tail_last
}

/// Whether a valid filter matches a valid name.
pub fn matches(filter: &str, name: &str) -> bool {
    let filter_levels: Vec<&str> = filter.split('/').collect();
    let name_levels: Vec<&str> = name.split('/').collect();
    let hidden = name.starts_with('$') && matches!(filter_levels.first(), Some(&("+" | "#")));
    !hidden && levels_match(&filter_levels, &name_levels)
}

fn levels_match(filter: &[&str], name: &[&str]) -> bool {
    match (filter, name) {
        (["#"], _) | ([], []) => true,
        (["+", filter @ ..], [_, name @ ..]) => levels_match(filter, name),
        ([wanted, filter @ ..], [level, name @ ..]) => wanted == level && levels_match(filter, name),
        ([], [_, ..]) | ([_, ..], []) => false,
    }
}

/// Compares the crate with the model on one pair; returns whether the pair was valid, and whether it matched.
///
/// # Panics
/// If they disagree.
pub fn compare(filter: &str, name: &str) -> (bool, bool) {
    let filter_ok = filter_is_valid(filter);
    let name_ok = name_is_valid(name);
    assert_eq!(topic::check_filter(filter).is_ok(), filter_ok, "is {filter:?} a filter?");
    assert_eq!(topic::check_name(name).is_ok(), name_ok, "is {name:?} a name?");
    let publishable = name_ok && !name.starts_with('$');
    assert_eq!(topic::check_publish(name).is_ok(), publishable, "may {name:?} be published?");
    let matched = topic::matches(filter, name);
    if filter_ok && name_ok {
        assert_eq!(matched, matches(filter, name), "does {filter:?} match {name:?}?");
    }
    (filter_ok && name_ok, matched)
}
