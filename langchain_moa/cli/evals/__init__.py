"""`langchain-moa eval`: does a mixture beat its best member, on what, at what price?"""
