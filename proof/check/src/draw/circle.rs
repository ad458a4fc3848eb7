//! A cycle of transactions, as one.

use std::f64::consts::TAU;

use super::page::escaped;
use crate::isolation::Step;

const NODE: f64 = 24.0;

pub(crate) fn draw(steps: &[Step]) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a cycle that is drawn has few steps")]
    let count = steps.len() as f64;
    let radius = (count * 24.0).max(90.0);
    let size = 2.0 * (radius + 70.0);
    let middle = size / 2.0;
    // The first is on top, the others follow clockwise.
    let at = |turns: f64, radius: f64| {
        let angle = TAU * (turns / count - 0.25);
        (middle + radius * angle.cos(), middle + radius * angle.sin())
    };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{size:.0}\" height=\"{size:.0}\" viewBox=\"0 0 {size:.0} {size:.0}\" \
         role=\"img\" aria-label=\"the cycle\">\n<defs><marker id=\"head\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" \
         markerWidth=\"8\" markerHeight=\"8\" orient=\"auto\"><path class=\"head\" d=\"M0 0 8 4 0 8z\"/></marker></defs>\n"
    );
    // How far an arrow keeps from the middle of a node, as a part of a turn between two.
    let gap = (NODE + 5.0) / (TAU * radius / count);
    for (place, step) in steps.iter().enumerate() {
        #[expect(clippy::cast_precision_loss, reason = "a cycle that is drawn has few steps")]
        let turns = place as f64;
        let (from, to) = (at(turns + gap, radius), at(turns + 1.0 - gap, radius));
        let label = at(turns + 0.5, radius + 28.0);
        svg += &format!(
            "<g><title>{}</title><path class=\"arrow\" marker-end=\"url(#head)\" d=\"M{:.1} {:.1}A{radius:.1} {radius:.1} 0 0 1 {:.1} {:.1}\"/>\
             <text text-anchor=\"middle\" x=\"{:.1}\" y=\"{:.1}\">{}</text></g>\n",
            escaped(&step.why),
            from.0,
            from.1,
            to.0,
            to.1,
            label.0,
            label.1 + 4.0,
            step.dependency.map_or("", crate::isolation::Dependency::name),
        );
        let (x, y) = at(turns, radius);
        svg += &format!(
            "<circle class=\"bar\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{NODE}\"/>\
             <text text-anchor=\"middle\" x=\"{x:.1}\" y=\"{:.1}\">T{}</text>\n",
            y + 4.5,
            step.transaction + 1
        );
    }
    svg + "</svg>\n"
}
