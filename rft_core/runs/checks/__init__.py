"""What `rft-engine check-grader` tries, and the rules by which it judges what came of it."""
