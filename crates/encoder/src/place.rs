//! Where in the encoder something may be inserted.
//!
//! A post-norm layer has two sub-layers, attention and feed-forward, and each ends in
//! `LN(x + residual)`. An adapter sits at one of these two ends: that is all the encoder knows
//! about adapters.

use std::fmt;

/// One of the two sub-layer ends of a layer, in the order in which a forward pass meets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Site {
    /// After the attention's output projection.
    Attention,
    /// After the feed-forward block's output projection.
    Output,
}

impl Site {
    /// Both sites, in the order in which a forward pass meets them.
    pub const ALL: [Site; 2] = [Site::Attention, Site::Output];
}

impl fmt::Display for Site {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Site::Attention => "attention",
            Site::Output => "output",
        })
    }
}

/// A site of one layer. Places are ordered as a forward pass meets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The layer, counted from 0 at the input.
    pub layer: usize,
    /// The site within the layer.
    pub site: Site,
}

impl Place {
    /// The place at `site` of `layer`.
    pub const fn new(layer: usize, site: Site) -> Place {
        Place { layer, site }
    }

    /// The place that a forward pass meets next.
    pub const fn next(self) -> Place {
        match self.site {
            Site::Attention => Place::new(self.layer, Site::Output),
            Site::Output => Place::new(self.layer + 1, Site::Attention),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "layer {}, {}", self.layer, self.site)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_ordered_as_a_forward_pass_meets_them() {
        let mut places = [
            Place::new(1, Site::Attention),
            Place::new(0, Site::Output),
            Place::new(10, Site::Attention),
            Place::new(0, Site::Attention),
            Place::new(1, Site::Output),
        ];
        places.sort();
        assert_eq!(Place::new(0, Site::Attention).next(), places[1]);
        assert_eq!(places[1].next(), places[2]);
        let words: Vec<String> = places.iter().map(Place::to_string).collect();
        assert_eq!(
            words,
            [
                "layer 0, attention",
                "layer 0, output",
                "layer 1, attention",
                "layer 1, output",
                "layer 10, attention"
            ]
        );
    }
}
