"""From ids to text: sampling, beam search."""
