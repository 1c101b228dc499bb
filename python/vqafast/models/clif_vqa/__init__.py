"""CLiF-VQA (Mi et al., ACM MM 2024; paper 004): what CLIP feels beside what FAST-VQA sees."""
